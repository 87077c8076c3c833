"""Do surrogates learn at all? What the members of MetaCloak's pool are, for each arm of the table "frozen" of the recipe `tiny`.

    python benchmarks/frozen.py --people PEOPLE --store STORE [--only p01 ...]

For every arm, person and member: the share of weights that left their place, |dw| / |w|, and how many of the member's own
pictures match the person it was taught (it learned clean photos, so a useful member's rate rises with its steps). Into
results/frozen.json; the arms' effect on thieves is in that table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from cloakwork import eot, loading, specs, steps
from cloakwork.grids import PROMPTS
from cloakwork.grids import people as people_in
from cloakwork.intervals import estimate
from cloakwork.ldm import LDM, Sampling
from cloakwork.metrics import match
from cloakwork.personalize import learnable, set_weights
from cloakwork.pool import members
from cloakwork.protections.metacloak import pool_steps
from cloakwork.recipes.tiny import FROZEN
from cloakwork.records import surroundings, write_json
from cloakwork.state import State
from cloakwork.steps import Bench
from cloakwork.trainers import drawer
from cloakwork.types import Photos


def moved(theta: LDM, base: dict[str, torch.Tensor]) -> dict[str, float]:
    """How far the weights are from where they began, over all of them."""
    pairs = [(p, base[name]) for name, p in learnable(theta).items()]
    n = sum(p.numel() for p, _ in pairs)
    return {
        "moved_share": sum((a != b).sum().item() for a, b in pairs) / n,
        "relative_change": (sum((a - b).square().sum() for a, b in pairs) / sum(b.square().sum() for _, b in pairs)) ** 0.5,
    }


def rows(arm: str, person: str, photos: Photos, references: Photos, ldm: LDM, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One a member."""
    _, cfg = specs.parse("protections", arm)
    theta, found = ldm.copy(), []
    # an arm that keeps its weights in bf16 begins with rounded ones, which is no learning
    base = {k: p.clone().to(getattr(torch, cfg.training.weights)).float() for k, p in learnable(theta).items()}
    at = pool_steps(cfg)
    for step, member in zip(at, members(theta, eot.view(photos, theta.size), cfg, at, args.seed, State()), strict=True):
        set_weights(theta, load_file(member.snapshot))
        draw = drawer(theta, PROMPTS, Sampling(n=args.n, guidance=5), args.seed)
        values = match.score(draw(args.n), references, None, match.Config()).tolist()
        found.append({"arm": arm, "person": person, "step": step, **moved(theta, base), "match": values})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True, help="of the recipe tiny")
    parser.add_argument("--only", nargs="*", help="people")
    parser.add_argument("--n", type=int, default=8, help="pictures for each of the two prompts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/frozen.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench, ldm = Bench(args.store, "cpu"), loading.load("tiny", "cpu")
    kept = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    done = {(r["arm"], r["person"]) for r in kept}
    for arm in FROZEN:
        for person in people_in(args.people):
            if (arm, person.name) in done or person.name not in (args.only or [person.name]):
                continue
            photos, references = (steps.photos(source, bench) for source in (person.clean, person.references))
            kept += rows(arm, person.name, photos, references, ldm, args)
            write_json(
                args.out, {"rows": kept, "weights": ldm.weights, "seed": args.seed, "surroundings": surroundings(ldm.device)}
            )
        for step in sorted({r["step"] for r in kept if r["arm"] == arm}):
            some = [r for r in kept if r["arm"] == arm and r["step"] == step]
            rate = estimate({r["person"]: {args.seed: r["match"]} for r in some})
            share = sum(r["moved_share"] for r in some) / len(some)
            change = sum(r["relative_change"] for r in some) / len(some)
            got = f"match {rate.mean:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
            print(f"{arm} after {step}: {share:.2%} moved, |dw|/|w| {change:.2e}, {got}")


if __name__ == "__main__":
    main()
