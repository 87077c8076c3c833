"""Measure the embedded models on photos that they were never trained on, and write the numbers into
the model card.

    vae      round trips beside TAESD: PSNR, LPIPS, latents, and whether dlib still knows the person
    samples  whether a classifier trained on real photos sees in a sample what the prompt asked for
    clip     zero-shot: clean against degraded, people against everything else
    ddpm     PSNR of noisy patches denoised, against the best blur
    dit      samples, for the folder of tiny-dit; "all" leaves it out
    encoders  latents of the small encoders of whole families, beside their teachers'

Each part replaces its own entry in results.json. Sheets of pictures go to a folder outside the
repository: they show people.

Run: python training/evaluate.py --work WORK --model src/cloakwork/assets --shared SHARED --part all
--sheets FOLDER
     python training/evaluate.py --model src/cloakwork/assets --card
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")
START, END = "<!-- numbers: written by training/evaluate.py --card -->", "<!-- end of numbers -->"
MODELS = ("tiny", "tiny-b")
FAMILIES = ("sd", "sd3", "flux2")
TOUCHED = {
    "vae": tuple(f"{part}-{name}" for part in ("encoder", "decoder") for name in MODELS),
    "samples": ("clip", *(f"{part}-{name}" for part in ("decoder", "unet") for name in MODELS)),
    "clip": ("clip",),
    "ddpm": ("ddpm",),
    "encoders": tuple(f"encoder-{name}" for name in FAMILIES),
    "dit": (),  # its steps stand in its own folder
}  # trainings that a part measures, by the beginning of their names


def merge(part: str, measured: dict, model: Path, path: Path) -> None:
    """Put one part into the results with the date and the training steps of the weights that were
    measured."""
    results = json.loads(path.read_text()) if path.exists() else {}
    parts = json.loads((model / "manifest.json").read_text())["parts"]
    steps = {
        name: record["step"] for name, record in parts.items() if name.startswith(TOUCHED[part])
    }
    results[part] = {"date": datetime.date.today().isoformat(), "steps": steps} | measured
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{part}: written to {path}")


def shown(value: dict | None, digits: int = 2, percent: bool = False) -> str:
    """A summary as "mean (low to high)"; a dash where there is none."""
    if value is None:
        return "-"
    mean, low, high = (
        (100 if percent else 1) * value[k]
        for k in ("mean" if "mean" in value else "auc", "low", "high")
    )
    return f"{mean:.{digits}f}{' %' if percent else ''} ({low:.{digits}f} to {high:.{digits}f})"


def vae_rows(vae: dict) -> list[list[str]]:
    """Round trips, the teacher's own as the target."""
    rows = []
    quantities = {
        "psnr": ("round trip, PSNR in dB", 2, "no lower than TAESD's "),
        "lpips": ("round trip, LPIPS", 3, "at most 0.05 over TAESD's "),
        "latent_error": ("squared error of latents / squared latents", 4, "at most 0.1"),
    }
    for key, (label, digits, target) in quantities.items():
        cells = [shown(vae.get(m, {}).get(key), digits) for m in MODELS]
        target += "" if key == "latent_error" else shown(vae["taesd"][key], digits)
        rows.append([f"{label}, {vae['taesd'][key]['n']} photos", *cells, target])
    if "untouched" in vae:
        found = [vae.get(m, {}).get("identity") for m in (*MODELS, "taesd", "untouched")]
        counts = [f"{i['matched']} of {i['n']}" if i else "-" for i in found]
        target = f"14 of each person's 15 (TAESD: {counts[2]}; no round trip: {counts[3]})"
        rows.append(
            [
                "portraits still matched to their person after a round trip (dlib)",
                *counts[:2],
                target,
            ]
        )
    return rows


def sample_rows(samples: dict) -> list[list[str]]:
    """Agreement of samples with prompts, the classifier's score on real photos as the target."""
    real, chance = shown(samples["judge"], 0, True), 100 * samples["chance"]
    target = f"60 % (real photos: {real}; chance: {chance:.0f} %)"
    found = next(samples[m] for m in MODELS if m in samples)
    rows = []
    for guidance, value in found["guidance"].items():
        cells = [
            shown(samples.get(m, {}).get("guidance", {}).get(guidance), 0, True) for m in MODELS
        ]
        rows.append(
            [
                f"samples whose class a classifier sees, guidance {guidance}, {value['n']} samples",
                *cells,
                target,
            ]
        )
    after = [shown(samples.get(m, {}).get("real_after_vae"), 0, True) for m in MODELS]
    return [*rows, ["the same for real photos after a round trip", *after, target]]


def clip_rows(clip: dict) -> list[list[str]]:
    measured = clip["tiny"]
    rows = {
        f"CLIP, AUC clean against degraded: {kind}": value
        for kind, value in measured["clean_against_degraded"].items()
    }
    rows["CLIP, AUC people against everything else"] = measured["person_against_rest"]
    return [
        [label, shown(value, 3), "the same CLIP", "0.9 (chance: 0.5)"]
        for label, value in rows.items()
    ]


def ddpm_rows(levels: dict) -> list[list[str]]:
    """What the denoiser of pixels gains over the best blur."""
    rows = []
    for level, found in levels.items():
        if level.isdigit():
            noisy, blur, new = (
                f"{found[name]['mean']:.1f}" for name in ("noisy", "blur", "denoiser")
            )
            label = (
                f"denoiser of pixels: PSNR gain over the best blur at noise {level}/255, dB, "
                f"{found['gain']['n']} photos"
            )
            rows.append(
                [
                    label,
                    shown(found["gain"]),
                    "-",
                    f"over 0 (noisy {noisy}, blur {blur}, denoised {new})",
                ]
            )
    return rows


def encoder_rows(encoders: dict) -> list[list[str]]:
    """The encoders of whole families; the last column holds the goal."""
    return [
        [
            f"encoder `{name}` at {side} px: squared error of latents / their energy about each "
            f"channel's mean, {found[side]['error']['n']} photos",
            shown(found[side]["error"], 3),
            "-",
            f"at most {found['goal']}",
        ]
        for name, found in encoders.items()
        if name in FAMILIES
        for side in found
        if side.isdigit()
    ]


def card(model: Path, path: Path) -> None:
    """Replace the numbers between the two marks of the model card by those of the results and of
    manifest.json."""
    results, manifest = (
        json.loads(path.read_text()) if path.exists() else {},
        json.loads((model / "manifest.json").read_text()),
    )
    rows = [["measured", *MODELS, "target"], ["---"] * 4]
    for part, make in (
        ("vae", vae_rows),
        ("samples", sample_rows),
        ("clip", clip_rows),
        ("ddpm", ddpm_rows),
        ("encoders", encoder_rows),
    ):
        rows += (
            make(results[part])
            if part in results
            else [[f"{part}: not measured yet", "-", "-", "-"]]
        )
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    dates = ", ".join(f"{part} {value['date']}" for part, value in results.items()) or "nothing yet"
    lines += [
        "",
        "Means with 95 % bootstrap intervals (photo sets or classes first, then photos). "
        f"Measured: {dates}.",
        "",
    ]
    lines += [
        "| part | steps trained | length of its schedule | CPU seconds |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {p['step']} | {p['steps']} | {p['cpu_seconds']} |"
        for name, p in manifest["parts"].items()
    ]
    stale = sorted(
        {
            n
            for r in results.values()
            for n, step in r["steps"].items()
            if manifest["parts"][n]["step"] != step
        }
    )
    lines += ["", f"Weights: {manifest['weight_bytes'] / 1e6:.1f} MB in bf16."]
    lines += (
        [f"Trained further since some of these numbers were taken: {', '.join(stale)}."]
        if stale
        else []
    )
    readme = model / "README.md"
    head, rest = readme.read_text().split(START)
    readme.write_text(head + START + "\n" + "\n".join(lines) + "\n" + END + rest.split(END)[1])
    print(f"card: {readme}")


def measure(args: argparse.Namespace) -> None:
    """Run the parts that were asked for; each judge is imported when its turn comes, so that
    --card needs no torch."""
    given = {
        "vae": (args.model, args.shared, args.dlib, args.sheets),
        "clip": (args.work, args.model, args.shared),
        "ddpm": (args.model, args.shared, args.sheets),
        "encoders": (args.model, args.shared),
        "samples": (args.work, args.model, args.sheets, args.minutes),
        "dit": (args.work, args.dit, args.sheets, args.minutes),
    }
    for part, values in given.items():
        if part == args.part or (args.part == "all" and part != "dit"):
            judge = importlib.import_module(f"judge_{part}")
            merge(part, judge.measure(*values), args.model, args.results)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder written by assemble.py")
    parser.add_argument("--work", type=Path, help="folder with the cached views")
    parser.add_argument(
        "--shared", type=Path, help="folder with data/identities, data/subjects and weights/"
    )
    parser.add_argument("--dit", type=Path, help="folder written by dit_assemble.py")
    parser.add_argument("--part", choices=(*TOUCHED, "all"))
    parser.add_argument(
        "--sheets", type=Path, help="folder outside the repository for sheets of pictures"
    )
    parser.add_argument(
        "--dlib",
        type=Path,
        help="folder with dlib's networks; otherwise the package face_recognition_models",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=5,
        help="longest training of the classifier that judges samples",
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--card", action="store_true", help="write the numbers into the model card")
    args = parser.parse_args()
    if args.part and not args.shared:
        parser.error("--part needs --shared")
    if args.part in ("clip", "samples", "dit", "all") and not args.work:
        parser.error(f"--part {args.part} needs --work")
    if args.part == "dit" and not args.dit:
        parser.error("--part dit needs --dit")
    if not (args.part or args.card):
        parser.error("give --part, --card or both")
    if args.part:
        measure(args)
    if args.card:
        card(args.model, args.results)


if __name__ == "__main__":
    main()
