"""Do photos foretell what an attacker gets from them? Four measures of every photo set against
match rates of the recipe `tiny`.

    python benchmarks/foretell.py --people PEOPLE --store STORE

Only attackers that the benchmark has trained already are looked at. For each a least-squares plane
through the match rates, with a level of its own for each person, so that only differences between
protections of the same person count; measures are in standard deviations. Intervals draw
protections again. Into results/foretell.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cloakwork.benchmark.grids import Line, Table, lines, people
from cloakwork.benchmark.recipes._red_team import OURS
from cloakwork.benchmark.recipes.tiny import EVERY, THREE
from cloakwork.environment import surroundings
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.design import Subject, score_step
from cloakwork.evaluation.statistics import DRAWS
from cloakwork.evaluation.steps import Workspace
from cloakwork.files import write_json
from cloakwork.metrics import identity, lpips
from cloakwork.models import loading
from cloakwork.models.ldm import LDM
from cloakwork.photos.preprocessing import preprocess
from cloakwork.types import Photos

MEASURES = ("displacement", "unlikeness", "error", "strangeness")
TIMESTEPS = (100, 300, 500, 700, 900)
NOISES = 2


@torch.no_grad()
def measured(photos: Photos, clean: Photos, references: Photos, ldm: LDM) -> dict[str, float]:
    """How far latents move (of their length), LPIPS of what the autoencoder gives back, denoising
    error of the untuned model, and distance of the face that the autoencoder gives back from the
    person's (1 where there is none)."""
    x, x_0 = preprocess(photos, ldm.size), preprocess(clean, ldm.size)
    z, z_0 = ldm.encode(x), ldm.encode(x_0)
    rng, c = torch.Generator().manual_seed(0), ldm.embed(["a photo of sks person"])
    at = [torch.full((len(z),), t) for t in TIMESTEPS for _ in range(NOISES)]
    back = ldm.decode(z).clamp(0, 1)
    return {
        "displacement": ((z - z_0).flatten(1).norm(dim=1) / z_0.flatten(1).norm(dim=1))
        .mean()
        .item(),
        "unlikeness": lpips.score(back, list(x_0), None, lpips.Config()).mean().item(),
        "error": sum(ldm.latent_loss(z, c, rng, t).item() for t in at) / len(at),
        "strangeness": identity.score(back, references, None, identity.Config())
        .nan_to_num(1)
        .mean()
        .item(),
    }


def match(line: Line, subject: Subject, workspace: Workspace) -> dict[str, float | None]:
    """Attacker -> share of its pictures that match (no face: no match); None where the store has no
    such attacker."""
    asked = {who.name: score_step(line.arm, subject, who, 0, "match") for who in THREE}
    return {
        name: float(np.nan_to_num(compute.score(step, workspace).values).mean())
        if steps.cached(step, workspace)
        else None
        for name, step in asked.items()
    }


def rows(args: argparse.Namespace, workspace: Workspace, ldm: LDM) -> list[dict[str, Any]]:
    """One a protection and person."""
    found = []
    for line in lines(Table("all", (*EVERY, OURS), THREE, people(args.people))):
        name = line.protection
        for subject, photos in line.photo_sets():
            rates = match(line, subject, workspace)
            if any(rate is not None for rate in rates.values()):
                seen = measured(
                    *(
                        compute.photos(p, workspace)
                        for p in (photos, subject.clean, subject.references)
                    ),
                    ldm,
                )
                found.append({"protection": name, "person": subject.name, **seen, "match": rates})
        print(name, len(found), flush=True)
    return found


def plane(rates: np.ndarray, measures: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, float]:
    """Slopes by the measures, and the share of what differs within people that they explain."""

    def within(values: np.ndarray) -> np.ndarray:
        return values - np.stack([values[people == who].mean(0) for who in people])

    y, x = within(rates), within(measures)
    slopes = np.linalg.lstsq(x, y, rcond=None)[0]
    return slopes, float(1 - (y - x @ slopes).var() / y.var())


def fitted(found: list[dict[str, Any]], label: str) -> dict[str, Any]:
    """The plane of one attacker, with intervals."""
    some = [r for r in found if r["match"][label] is not None]
    people, names = (np.array([r[key] for r in some]) for key in ("person", "protection"))
    rates = np.array([r["match"][label] for r in some])
    measures = np.array([[r[m] for m in MEASURES] for r in some])
    measures = (measures - measures.mean(0)) / measures.std(0)
    slopes, explained = plane(rates, measures, people)
    draw, drawn = np.random.default_rng(0), []
    while len(drawn) < DRAWS:
        again = np.concatenate(
            [
                np.flatnonzero(names == n)
                for n in draw.choice(np.unique(names), len(np.unique(names)))
            ]
        )
        if len(set(people[again])) == len(set(people)):
            drawn.append(plane(rates[again], measures[again], people[again])[0])
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    alone = {m: plane(rates, measures[:, [i]], people)[1] for i, m in enumerate(MEASURES)}
    return {
        "n": len(some),
        "protections": len(set(names)),
        "people": len(set(people)),
        "explained": explained,
        "explained_alone": alone,
        "slopes": {m: [slopes[i], low[i], high[i]] for i, m in enumerate(MEASURES)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True, help="of the recipe tiny")
    parser.add_argument("--out", type=Path, default=Path("results/foretell.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    workspace, ldm = Workspace(args.store, "cpu"), loading.load("tiny", "cpu")
    found = rows(args, workspace, ldm)
    fits = {label: fitted(found, label) for label in (who.name for who in THREE)}
    write_json(
        args.out,
        {
            "attackers": fits,
            "rows": found,
            "weights": ldm.weights,
            "surroundings": surroundings(ldm.device),
        },
    )
    for label, fit in fits.items():
        slopes = ", ".join(
            f"{m} {s:+.3f} [{a:+.3f}, {b:+.3f}]" for m, (s, a, b) in fit["slopes"].items()
        )
        print(
            f"{label}: {fit['n']} photo sets, {fit['explained']:.2f} explained; {slopes}; "
            f"alone {fit['explained_alone']}"
        )


if __name__ == "__main__":
    main()
