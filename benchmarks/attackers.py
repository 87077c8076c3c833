r"""Does an attacker work on clean photos, and what does it cost? Into results/attackers.json; rows
that are there are kept.

    python benchmarks/attackers.py --people PEOPLE --store STORE \
        --attacker untuned dreambooth lora:service --victim tiny tiny-b
    python benchmarks/attackers.py --subjects SUBJECTS --only cat dog backpack ... --store STORE \
        --attacker untuned dreambooth

PEOPLE holds a folder a person with set_A and set_B: attackers learn from set_B, pictures are
compared with the clean photos of every person. SUBJECTS holds a folder of photos a subject that is
no person: attackers learn from the first half, pictures are compared with the second half of every
subject. An attacker is written as in `cloakwork attack`; "untuned" is the victim itself.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloakwork import specs
from cloakwork.benchmark import grids
from cloakwork.environment import surroundings
from cloakwork.evaluation import compute
from cloakwork.evaluation.design import Subject, with_noun
from cloakwork.evaluation.sources import Source, source
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.files import write_json
from cloakwork.finetuning.sampling import sampler
from cloakwork.metrics import clip_i, match
from cloakwork.models.faces import load_faces
from cloakwork.photos.sheets import write_grid
from cloakwork.types import Images, Photos


@dataclass(frozen=True)
class Group:
    """Photo sets that pictures are told apart by."""

    nouns: dict[str, str]
    """of the prompts: "a photo of sks NOUN" """
    learned: dict[str, Source]
    known: dict[str, Photos]
    """clean photos that pictures are compared with"""


def people(folder: Path, workspace: Workspace) -> Group:
    return _group(
        grids.people(folder), {who.name: who.references for who in grids.people(folder)}, workspace
    )


def subjects(folder: Path, only: Sequence[str], workspace: Workspace) -> Group:
    some = grids.things(folder, only)
    others = {
        thing.name: source(f for f in thing.references.files if f not in thing.clean.files)
        for thing in some
    }
    return _group(some, others, workspace)


def _group(some: Sequence[Subject], known: dict[str, Source], workspace: Workspace) -> Group:
    photos = {name: compute.photos(of, workspace) for name, of in known.items()}
    return Group({s.name: s.noun for s in some}, {s.name: s.clean for s in some}, photos)


def faces(pictures: Images, name: str, known: dict[str, Photos]) -> dict[str, Any]:
    """Shares of pictures: with a face; matched (within the calibrated threshold of the person's
    mean face); taken for another of the people (whose mean face is within it and nearest); within
    it of another, who need not be the nearest."""
    far = torch.stack([load_faces().distances(pictures, photos) for photos in known.values()])
    own, near = list(known).index(name), far <= match.THRESHOLDS["dlib"]
    nearest = far.nan_to_num(math.inf).argmin(0)
    return {
        "faces": (~far[own].isnan()).float().mean().item(),
        "matched": near[own].float().mean().item(),
        "taken_for_another": (near.any(0) & (nearest != own)).float().mean().item(),
        "near_another": near[torch.arange(len(known)) != own].any(0).float().mean().item(),
        "distance": far[own].nanmedian().item(),
    }


def likeness(pictures: Images, name: str, known: dict[str, Photos]) -> dict[str, Any]:
    """CLIP-I with the subject, with the others, and how often the subject comes first."""
    near: dict[str, Tensor] = {
        who: clip_i.score(pictures, photos, None, clip_i.Config()) for who, photos in known.items()
    }
    others = torch.stack([n for who, n in near.items() if who != name])
    return {
        "clip_i": near[name].mean().item(),
        "clip_i_others": others.mean().item(),
        "first": (near[name] > others.amax(0)).float().mean().item(),
    }


def run_attack(
    args: argparse.Namespace,
    attacker: str,
    victim: str,
    name: str,
    group: Group,
    seed: int,
    workspace: Workspace,
) -> Images:
    """The pictures of one attacker for "a photo of sks NOUN"; a subject that is no person is called
    by its own name."""
    called = group.nouns[name]
    prompts = (f"a photo of sks {called}",)
    word = "dreambooth" if attacker == "untuned" else attacker
    method = specs.parse("attackers", word, [victim])
    sampling = replace(method.config.sampling, n=args.n)
    method = with_noun(replace(method, config=replace(method.config, sampling=sampling)), called)
    if attacker == "untuned":
        return sampler(workspace.model(victim, args.dtype), prompts, sampling, seed)(args.n)
    step = Step(method, (group.learned[name],), seed, (victim,), prompts, args.dtype)
    return compute.pictures(step, workspace)


def row(
    args: argparse.Namespace,
    which: dict[str, Any],
    before: dict[str, Any],
    group: Group,
    workspace: Workspace,
) -> dict[str, Any]:
    """One attacker's result: `which` it is, and what it got; its cost is taken from `before` where
    it is known."""
    name, victim = which["subject"], which["victim"].split()[0]
    begun = time.process_time()
    images = run_attack(args, which["attacker"], victim, name, group, which["seed"], workspace)
    spent = before.get("cpu_seconds", round(time.process_time() - begun, 1))
    if args.sheets:
        sheet = f"{which['attacker'].replace(':', '-')}-{victim}-{name}-{which['seed']}.png"
        write_grid(args.sheets / sheet, images, 8)
    found = (faces if args.people else likeness)(images, name, group.known)
    counts = {"cpu_seconds": spent, "photos": len(group.learned[name].files)}
    return which | counts | {k: round(v, 4) for k, v in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path)
    parser.add_argument("--subjects", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="which people (all) or subjects")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--attacker", nargs="+", required=True)
    parser.add_argument("--victim", nargs="+", default=["tiny"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--dtype", default="bfloat16", help="what the attackers compute in")
    parser.add_argument("--again", action="store_true", help="score again what is in the store")
    parser.add_argument("--sheets", type=Path, help="folder for the pictures")
    parser.add_argument("--out", type=Path, default=Path("results/attackers.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    workspace = Workspace(args.store, "cpu")
    group = (
        people(args.people, workspace)
        if args.people
        else subjects(args.subjects, args.only, workspace)
    )
    for attacker, victim, name, seed in product(
        args.attacker, args.victim, args.only or group.learned, range(args.seeds)
    ):
        weights = workspace.model(victim, args.dtype).weights
        which = {
            "attacker": attacker,
            "victim": f"{victim} {weights}",
            "dtype": args.dtype,
            "subject": name,
            "seed": seed,
            "pictures": args.n,
        }
        rows = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
        before = [r for r in rows if which.items() <= r.items()]
        if before and not args.again:
            continue
        new = row(args, which, before[0] if before else {}, group, workspace)
        kept = [r for r in rows if r not in before]
        made_on = surroundings(torch.device("cpu")) | {
            "clip": asdict(clip_i.Config()),
            "match": match.THRESHOLDS["dlib"],
        }
        write_json(args.out, {"rows": [*kept, new], "surroundings": made_on})
        print(json.dumps(new), flush=True)


if __name__ == "__main__":
    main()
