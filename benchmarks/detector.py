"""Whether a network tells photos that were protected from clean ones: AUC per protection.

    python benchmarks/detector.py --people PEOPLE --store STORE [--weights FOLDER]
        [--protections pid learned ...]

The network is the package's own, of the purifier `learned`, which has learned from `pid`, or one
that `cloakwork train-purifier` wrote. Photos are those of the red team's tables in the recipe
`tiny`, from its store where they are there. Of a protected photo it counts which share of all clean
ones the network is less sure of; the mean is the AUC. The interval is over people; the clean photos
are held. Beside it stand the shares of protected and of clean photos that it takes for protected,
both after JPEG 75 too. Rows are added to results/detector.json; docs.py makes the table.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from finding_tables import head, line, short, span

from cloakwork.benchmark.grids import Table, lines, people
from cloakwork.benchmark.recipes._red_team import OURS, SIDE
from cloakwork.environment import surroundings
from cloakwork.evaluation import compute
from cloakwork.evaluation.statistics import estimate
from cloakwork.evaluation.steps import Workspace
from cloakwork.files import write_json
from cloakwork.models import cleaner, hub
from cloakwork.models.device import DTYPES
from cloakwork.purifiers import jpeg
from cloakwork.types import Photos
from cloakwork.workflows.train_purifier import auc

PROTECTIONS = ("noise", "pid", "pid:refined", "learned", "dct_shield", "metacloak", "simac", OURS)
PUBLISHED = {"": None, "JPEG 75": jpeg.Config(quality=75)}  # how photos reach the network
Told = dict[str, list[float]]  # person -> a logit for each photo


def logits(net: cleaner.Cleaner, photos: Photos, published: jpeg.Config | None) -> list[float]:
    """How sure the network is of each photo."""
    if published:
        photos = jpeg.purify(photos, None, published, rng=torch.Generator())
    return [cleaner.look(net, photo)[1] for photo in photos]


def told(net: cleaner.Cleaner, table: Table, how: jpeg.Config | None, store: Workspace) -> Told:
    """Logits of everybody's photos under a table's only protection; "none": as they are."""
    (protection,) = table.protections
    row = next(row for row in lines(table) if row.protection == protection)
    return {
        subject.name: logits(net, compute.photos(photos, store), how)
        for subject, photos in row.photo_sets()
    }


def compare(protected: Told, clean: Told) -> dict[str, Any]:
    """The AUC, and the shares that are taken for protected."""
    untouched = [x for one in clean.values() for x in one]
    surer = {who: {0: [auc([x], untouched) for x in one]} for who, one in protected.items()}
    marked = [x for one in protected.values() for x in one]
    return {
        "auc": asdict(estimate(surer)),
        "taken": sum(x > 0 for x in marked) / len(marked),
        "clean_taken": sum(x > 0 for x in untouched) / len(untouched),
        "photos": len(marked),
        "people": len(protected),
    }


def detector(results: Path) -> list[str]:
    """A line for each network and protection."""
    rows = json.loads((results / "detector.json").read_text())["rows"]
    made = head(
        ["learned from", "protection", "published", "AUC", "taken for protected", "clean ones"]
    )
    for row in rows:
        shares = (short(row[share], 2) for share in ("taken", "clean_taken"))
        named = (row["learned_from"], row["protection"], row["published"] or "as it is")
        made.append(line([*named, span(row["auc"], 2), *shares]))
    return [*made, "", f"n = {rows[0]['photos']} photos of {rows[0]['people']} people a line."]


TABLES = {"detector": (("detector.json",), detector)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True, help="of the recipe tiny")
    parser.add_argument("--weights", type=Path, default=cleaner.EMBEDDED[""])
    parser.add_argument("--protections", nargs="*", default=PROTECTIONS)
    # as in the recipe, so that steps are the same
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--out", type=Path, default=Path("results/detector.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    store, net = Workspace(args.store, "cpu"), cleaner.load(args.weights, torch.device("cpu"))
    named = json.loads((args.weights / "config.json").read_text())["protection"]
    rows = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    none = Table("all", ("none",), (), people(args.people, SIDE), dtype=args.dtype)
    clean = {published: told(net, none, how, store) for published, how in PUBLISHED.items()}
    for protection in args.protections:
        for published, how in PUBLISHED.items():
            protected = told(net, replace(none, protections=(protection,)), how, store)
            about = {"learned_from": named, "protection": protection, "published": published}
            rows = [r for r in rows if any(r[k] != v for k, v in about.items())]
            rows.append(about | {"weights": hub.identity(str(args.weights))})
            rows[-1] |= compare(protected, clean[published])
            print(rows[-1], flush=True)
        write_json(args.out, {"rows": rows, "surroundings": surroundings(torch.device("cpu"))})


if __name__ == "__main__":
    main()
