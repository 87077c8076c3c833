"""Does a protection that was computed against one autoencoder move the latents of others?

    python benchmarks/transfer.py --people PEOPLE --taesd TAESD --taesd3 TAESD3 --store STORE
    [--part 0/2]

Every protection is computed (preset "tiny", budget 11, seed 0) against `tiny` and against `tiny`
with TAESD in the place of its autoencoder, which was distilled from TAESD. For each of the four
autoencoders: root mean square of the change of the latent, in shares of the clean latent's spread,
photos seen at 128 px (cloakwork.bottleneck). Random signs of the same budget are the control. Into
results/transfer.json, which it adds to, and docs/findings.md. Photos that the recipe `tiny` has
protected already come from its store.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import tables
import torch

from cloakwork.benchmark.grids import Table, lines
from cloakwork.benchmark.grids import people as people_in
from cloakwork.environment import surroundings
from cloakwork.evaluation import bottleneck, compute
from cloakwork.evaluation.statistics import difference, estimate
from cloakwork.evaluation.steps import Workspace
from cloakwork.files import ASSETS, write_json
from cloakwork.models import autoencoders
from cloakwork.photos.preprocessing import preprocess

PROTECTIONS = ("photoguard", "pid", "advdm", "aspl", "cloakwork")
SIDE = 128  # px


def with_taesd(taesd: Path, folder: Path) -> str:
    """A pipeline folder of `tiny` with TAESD as its autoencoder."""
    if not folder.is_dir():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(ASSETS / "tiny", part)
        shutil.rmtree(part / "vae")
        autoencoders.load(str(taesd)).vae.save_pretrained(part / "vae")
        index = json.loads((part / "model_index.json").read_text())
        index["vae"][1] = "AutoencoderTiny"
        (part / "model_index.json").write_text(json.dumps(index))
        part.rename(folder)
    return str(folder)


Moved = dict[str, dict[str, dict[str, dict[str, dict[int, list[float]]]]]]


def known(path: Path, weights: dict[str, str]) -> Moved:
    """What was measured: protection -> surrogate -> autoencoder -> person -> seed -> one number a
    photo."""
    kept = json.loads(path.read_text()) if path.exists() else {"rows": [], "weights": weights}
    if kept["weights"] != weights:
        raise SystemExit(f"{path} was measured with other autoencoders; move it away first.")
    found: Moved = {}
    for row in kept["rows"]:
        found.setdefault(row["protection"], {})[row["computed_against"]] = {
            name: {who: {int(seed): x for seed, x in by.items()} for who, by in people.items()}
            for name, people in row["moved"].items()
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--taesd", type=Path, required=True)
    parser.add_argument("--taesd3", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True, help="of the recipe tiny")
    parser.add_argument("--protections", nargs="*", default=PROTECTIONS)
    parser.add_argument(
        "--part", help="I/N: only every Nth person, beginning with the Ith, and no table"
    )
    parser.add_argument("--out", type=Path, default=Path("results/transfer.json"))
    parser.add_argument("--doc", type=Path, default=Path("docs/findings.md"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    workspace = Workspace(args.store, "cpu")
    surrogates = {"tiny": "tiny", "TAESD": with_taesd(args.taesd, args.store / "tiny-with-taesd")}
    seen_by = {
        "tiny": "tiny",
        "tiny-b": "tiny-b",
        "TAESD": str(args.taesd),
        "TAESD 3": str(args.taesd3),
    }
    coders = {name: autoencoders.load(where) for name, where in seen_by.items()}
    mine, of = (int(x) for x in args.part.split("/")) if args.part else (0, 1)
    people = people_in(args.people)[mine::of]
    found = known(args.out, {n: c.weights for n, c in coders.items()})
    for protection in ("noise", *args.protections):
        for surrogate, model in surrogates.items() if protection != "noise" else [("", "tiny")]:
            word = f"{protection}:tiny@{model}" if surrogate else protection
            rows_of = found.setdefault(protection, {}).setdefault(
                surrogate, {n: {} for n in coders}
            )
            line = next(
                row for row in lines(Table("all", (word,), (), people)) if row.protection == word
            )
            for subject, photos in line.photo_sets():
                if all(subject.name in row for row in rows_of.values()):
                    continue
                clean, other = (
                    preprocess(compute.photos(p, workspace), SIDE) for p in (subject.clean, photos)
                )
                print(f"{protection} {surrogate} {subject.name}", flush=True)
                for name, coder in coders.items():
                    rows_of[name][subject.name] = {
                        0: bottleneck.encoder_shift(coder, clean, {"": other})[""].latents
                    }
    if args.part:
        return
    noise = found["noise"][""]
    rows = {(p, s): row for p, by in found.items() for s, row in by.items()}
    means = {key: {n: estimate(x) for n, x in row.items()} for key, row in rows.items()}
    gaps = {key: {n: difference(x, noise[n]) for n, x in row.items()} for key, row in rows.items()}
    heads = ["protection", "computed against", *coders]
    markdown = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for key in rows:
        shown = {n: f"{e.mean:.2f} [{e.low:.2f}, {e.high:.2f}]" for n, e in means[key].items()}
        columns = [f"**{text}**" if gaps[key][n].low > 0 else text for n, text in shown.items()]
        markdown.append(f"| {' | '.join([*key, *columns])} |")
    write_json(
        args.out,
        {
            "rows": [
                {
                    "protection": p,
                    "computed_against": s,
                    "moved": row,
                    "mean": {n: asdict(e) for n, e in means[p, s].items()},
                    "beyond_noise": {n: asdict(e) for n, e in gaps[p, s].items()},
                }
                for (p, s), row in rows.items()
            ],
            "weights": {n: c.weights for n, c in coders.items()},
            "surroundings": surroundings(workspace.torch_device),
        },
    )
    print("\n".join(markdown))
    tables.write(args.doc, "transfer", markdown)


if __name__ == "__main__":
    main()
