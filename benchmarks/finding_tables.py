"""The tables of docs/findings.md, each from its file in results/; docs.py writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from cloakwork.evaluation.statistics import estimate


def line(columns: Iterable[str]) -> str:
    return f"| {' | '.join(columns)} |"


def head(names: list[str]) -> list[str]:
    return [line(names), "|---" * len(names) + "|"]


def short(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """.123, as shares are written here."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return (
        text.replace("0.", ".", 1)
        if abs(value) < 1 and not text.lstrip("+-").startswith("1")
        else text
    )


def span(e: dict[str, Any], digits: int = 3, *, signed: bool = False) -> str:
    mean = short(e["mean"], digits, signed=signed)
    return f"{mean} [{short(e['low'], digits)}, {short(e['high'], digits)}]"


def denoising(results: Path) -> list[str]:
    found = json.loads((results / "denoising.json").read_text())["summary"]
    lines = head(["error on", "none", "noise", "aspl", "aspl - noise", "aspl - none"])
    names = {
        "on_learned": "the photos it learned",
        "on_unseen_clean": "clean photos of the person that it never saw",
        "base_on_learned": "(before learning) the photos",
    }
    for key, name in names.items():
        row = found[key]
        gaps = [
            f"{span(row[g], signed=True)}, p {short(row[g]['p'])}"
            for g in ("aspl - noise", "aspl - none")
        ]
        lines.append(
            line([name, *(short(row[arm]["mean"]) for arm in ("none", "noise", "aspl")), *gaps])
        )
    return lines


def encoders(results: Path) -> list[str]:
    found = json.loads((results / "inspection.json").read_text())["amplified"]
    lines = head(
        [
            "encoder",
            "the protection's change grows by",
            "random noise's",
            "the protection's after JPEG 75",
        ]
    )
    for name, row in found.items():
        called = f"`{name}`" if name.startswith("tiny") else name
        lines.append(
            line(
                [
                    called,
                    *(span(row[arm], 1) for arm in ("protected", "noise", "protected, purified")),
                ]
            )
        )
    return lines


def denoiser(results: Path) -> list[str]:
    found = json.loads((results / "inspection.json").read_text())["denoiser"]
    lines = head(
        [
            "latents moved by",
            "denoising error, attacked",
            "moved at random",
            "answer moved, attacked",
        ]
    )
    lines.append(line(["0", span(found["clean"]["error"]), "", ""]))
    for size in sorted(
        {name.removeprefix("attacked by ") for name in found if name.startswith("attacked by ")},
        key=float,
    ):
        attacked, random = found[f"attacked by {size}"], found[f"scattered by {size}"]
        lines.append(
            line([size, span(attacked["error"]), span(random["error"]), span(attacked["answers"])])
        )
    return lines


def foretold(results: Path) -> list[str]:
    found = json.loads((results / "foretell.json").read_text())["attackers"]
    measures = ("displacement", "unlikeness", "error", "strangeness")
    lines = head(
        ["attacker", "photo sets, of protections", "all four", *(f"{m} alone" for m in measures)]
    )
    for attacker, fit in found.items():
        alone = [short(fit["explained_alone"][m], 2) for m in measures]
        lines.append(
            line(
                [
                    attacker,
                    f"{fit['n']} of {fit['protections']}",
                    short(fit["explained"], 2),
                    *alone,
                ]
            )
        )
    return lines


def surrogates(results: Path) -> list[str]:
    return learned(json.loads((results / "frozen.json").read_text())["rows"])


def learned(rows: list[dict[str, Any]]) -> list[str]:
    """What surrogates have learned: a line an arm and stage, from frozen.py's rows."""
    found = [r for r in rows if r["moved_share"]]  # those that stay have nothing to show
    lines = head(
        [
            "surrogates",
            "steps learned",
            "people",
            "weights moved",
            "by, of their norm",
            "their own pictures match",
        ]
    )
    for arm, step in sorted({(r["arm"], r["step"]) for r in found}):
        some = [r for r in found if (r["arm"], r["step"]) == (arm, step)]
        rate = estimate({r["person"]: {0: r["match"]} for r in some})
        share, change = (mean(r[key] for r in some) for key in ("moved_share", "relative_change"))
        how = arm.partition("training.batch=4,training.")[2].replace("training.", "")
        lines.append(
            line(
                [
                    how,
                    str(step),
                    str(len(some)),
                    f"{share:.2%}",
                    f"{change:.1e}",
                    span(asdict(rate), 2),
                ]
            )
        )
    return lines


def attackers(results: Path) -> list[str]:
    rows = [
        r for r in json.loads((results / "attackers.json").read_text())["rows"] if "matched" in r
    ]
    lines = head(
        [
            "attacker (preset)",
            "victim",
            "faces found",
            "matched",
            "taken for another",
            "CPU seconds, all in",
        ]
    )
    for attacker, victim in dict.fromkeys((r["attacker"], r["victim"]) for r in rows):
        some = [r for r in rows if (r["attacker"], r["victim"]) == (attacker, victim)]
        columns = []
        for key in ("faces", "matched", "taken_for_another"):
            values = [r[key] for r in some]
            low, high = short(min(values), 2), short(max(values), 2)
            columns.append(short(mean(values), 2) + (f" ({low} to {high})" if low != high else ""))
        seconds = sorted({round(r["cpu_seconds"]) for r in some})
        said = f"{seconds[0]} to {seconds[-1]}" if len(seconds) > 1 else str(seconds[0])
        called = attacker if attacker == "untuned" else f"{attacker} (`tiny`)"
        lines.append(line([called, f"`{victim.split()[0]}`", *columns, said]))
    return lines


def natural(results: Path) -> list[str]:
    files = (results / "tiny" / f"{name}.json" for name in ("edits", "methods"))
    edits, methods = (json.loads(file.read_text())["findings"]["tables"][0] for file in files)
    names = {
        "advdm": "AdvDM +",
        "advdm:tiny-minus": "AdvDM -",
        "sds:tiny-plus": "SDS +",
        "sds": "SDS -",
    }
    lines = head(
        ["", "edits apart (LPIPS)", "photo: LPIPS", "SSIM", "PSNR", "match rate of an attacker"]
    )
    for protection, name in {"none": "clean photos", **names}.items():
        of = {
            (c["thief"], c["metric"]): c["mean"]
            for c in edits["cells"]
            if c["protection"] == protection
        }
        apart = " ".join(
            short(e["mean"])
            for (attacker, metric), e in of.items()
            if attacker.startswith("SDEdit") and metric == "lpips"
        )
        seen = methods["stealth"].get(protection)
        rate = next(
            c["mean"]["mean"]
            for c in methods["cells"]
            if (c["protection"], c["metric"]) == (protection, "match")
        )
        looks = (
            [span(seen["lpips"]), span(seen["ssim"]), f"{seen['psnr']['mean']:.1f}"]
            if seen
            else ["", "", ""]
        )
        lines.append(line([name, apart if seen else "", *looks, short(rate, 2)]))
    return lines


def training(results: Path) -> list[str]:
    found = json.loads((results / "training.json").read_text())["training"]
    looks = list(next(iter(found["match"].values())))
    lines = head(["photos", "", *(f"{k} steps" for k in looks)])
    for metric, name in (("match", "match rate"), ("clip_i", "CLIP-I")):
        lines += [
            line([arm, name, *(span(course[k], 2) for k in looks)])
            for arm, course in found[metric].items()
        ]
    return lines


# name -> the files in results/ that it needs, how it is made of them
TABLES: dict[str, tuple[tuple[str, ...], Callable[[Path], list[str]]]] = {
    "denoising": (("denoising.json",), denoising),
    "natural": (("tiny/edits.json", "tiny/methods.json"), natural),
    "encoders": (("inspection.json",), encoders),
    "denoiser": (("inspection.json",), denoiser),
    "foretold": (("foretell.json",), foretold),
    "attackers": (("attackers.json",), attackers),
    "surrogates": (("frozen.json",), surrogates),
    "training": (("training.json",), training),
}
