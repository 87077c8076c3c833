"""Do surrogates learn at all? What the members of MetaCloak's pool are, for each arm of the table
"frozen" of the recipe `tiny`.

    python benchmarks/frozen.py --data DATA --store STORE [--only p01 ...]

For every arm, person and member: the share of weights that left their place, |dw| / |w|, and how
many of the member's own pictures match the person it was taught (it learned clean photos, so a
useful member's rate rises with its steps). Into results/frozen.json; the arms' effect on attackers
is in that table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import finding_tables
import torch
from safetensors.torch import load_file

from cloakwork.benchmark.grids import PROMPTS, protected
from cloakwork.benchmark.recipes.tiny import tiny
from cloakwork.environment import surroundings
from cloakwork.evaluation import compute
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.run import protection_rng
from cloakwork.evaluation.steps import Step, Workspace, key
from cloakwork.files import write_json
from cloakwork.finetuning.sampling import draw_seed, sampler
from cloakwork.finetuning.weights import learnable, set_weights
from cloakwork.metrics import match
from cloakwork.models import pipelines
from cloakwork.models.ldm import LDM
from cloakwork.models.sampling import Sampling
from cloakwork.perturbation.surrogates import make_snapshots
from cloakwork.photos.preprocessing import preprocess
from cloakwork.protections.metacloak import pool_steps
from cloakwork.state import RunState
from cloakwork.workflows.bench import only


def moved(theta: LDM, base: dict[str, torch.Tensor]) -> dict[str, float]:
    """How far the weights are from where they began, over all of them."""
    named = learnable(theta)
    now, then = (torch.cat([w[name].flatten().double() for name in named]) for w in (named, base))
    return {
        "moved_share": (now != then).double().mean().item(),
        "relative_change": ((now - then).norm() / then.norm()).item(),
    }


def rows(person: Subject, args: argparse.Namespace, workspace: Workspace) -> list[dict[str, Any]]:
    """One a member, of the very pool that the table's protection drew from: it is in the cache
    where that has been computed."""
    step = person.protected
    assert isinstance(step, Step)
    cfg, theta = step.config, workspace.models_of(step)[0].copy()
    # an arm that keeps its weights in bf16 begins with rounded ones, which is no learning
    base = {
        k: p.clone().to(getattr(torch, cfg.training.weights)).float()
        for k, p in learnable(theta).items()
    }
    photos, references = (
        compute.photos(source, workspace) for source in (step.inputs[-1], person.references)
    )
    at, found = pool_steps(cfg), []
    pool = make_snapshots(
        theta,
        preprocess(photos, theta.size),
        cfg,
        at,
        draw_seed(protection_rng(step.seed, [key(i, workspace) for i in step.inputs])),
        RunState(),
    )
    for done, member in zip(at, pool, strict=True):
        set_weights(theta, load_file(member.snapshot))
        draw = sampler(theta, PROMPTS, Sampling(n=args.n, guidance=5), step.seed)
        values = match.score(draw(args.n), references, None, match.Config()).tolist()
        found.append({"person": person.name, "step": done, **moved(theta, base), "match": values})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="as for the recipe tiny")
    parser.add_argument("--store", type=Path, required=True, help="of the recipe tiny")
    parser.add_argument("--only", nargs="*", help="people")
    parser.add_argument("--n", type=int, default=8, help="pictures for each of the two prompts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("results/frozen.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    workspace = Workspace(args.store, args.device)
    (table,) = only(tiny(args.data), ["frozen"]).tables
    same = {"n": args.n, "weights": pipelines.weights("tiny"), "dtype": table.dtype}
    kept = json.loads(args.out.read_text()) if args.out.exists() else same | {"rows": []}
    if {k: kept[k] for k in same} != same:
        raise SystemExit(
            f"{args.out} was measured with other pictures, weights or precision; "
            "move it away first."
        )
    done = {(r["arm"], r["person"]) for r in kept["rows"]}
    for arm in table.protections:
        for person in protected(table, arm):
            if (arm, person.name) in done or person.name not in (args.only or [person.name]):
                continue
            kept["rows"] += [{"arm": arm} | row for row in rows(person, args, workspace)]
            write_json(args.out, kept | {"surroundings": surroundings(workspace.torch_device)})
    print("\n".join(finding_tables.learned(kept["rows"])))


if __name__ == "__main__":
    main()
