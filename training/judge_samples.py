"""Do samples show what the prompt asks for? A small classifier, trained on real photos alone, says
what it sees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from clip import jitter
from data import captions, load_index, name_of, to_unit
from diffusers import DiffusionPipeline
from judge_vae import kl_coder, round_trip, small_coder
from judging import outside, save_sheet, summary
from loop import Run
from numpy.lib.format import open_memmap
from torch import Tensor, nn

CLASSES = (
    "airplanes",
    "Motorbikes",
    "watch",
    "Faces_easy",
    "Leopards",
    "bonsai",
    "car_side",
    "ketch",
    "chandelier",
    "hawksbill",
    "grand_piano",
    "brain",
    "butterfly",
    "sunflower",
)
PROMPTS = [captions(c, "clean")[0] for c in CLASSES]
GUIDANCE = (3.0, 5.0, 7.0)
PER_CLASS, STEPS = 8, 25
ENOUGH = (
    0.8  # the classifier must be right on this share of held-out real photos before it may judge
)


def build() -> nn.Sequential:
    """Four convolutions on 64 px pictures."""
    layers: list[nn.Module] = [nn.AvgPool2d(2)]
    for i, (a, b, kernel, stride) in enumerate(
        ((3, 32, 5, 2), (32, 64, 3, 2), (64, 128, 3, 1), (128, 128, 3, 2))
    ):
        layers += [nn.Conv2d(a, b, kernel, stride, kernel // 2), nn.GroupNorm(8, b), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i == 2 else []
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(512, len(CLASSES)),
    )


def train(work: Path, minutes: float) -> nn.Sequential:
    """Train on the cached training views, once: weights stay in WORK/judge. Classes are drawn
    equally often."""
    index, pixels = load_index(work), open_memmap(work / "views.npy", "r")
    rows = [
        [i for i, r in enumerate(index) if r["folder"] == c and not r["held_out"]] for c in CLASSES
    ]
    torch.manual_seed(0)
    net = build()
    run = Run(
        work / "judge", net, lr=2e-3, steps=900, minutes=minutes, weight_decay=0.05, warmup=50
    )
    for step in run:
        draw = np.random.default_rng([2, step])
        labels = draw.integers(0, len(CLASSES), 64)
        chosen = [draw.choice(rows[c]) for c in labels]
        x = jitter(
            to_unit(pixels[chosen, draw.integers(0, 3, 64)]), torch.Generator().manual_seed(step)
        )
        run.descend(F.cross_entropy(net(x), torch.from_numpy(labels), label_smoothing=0.05))
    return net.eval()


@torch.no_grad()
def right(net: nn.Module, x: Tensor, labels: list[int]) -> np.ndarray:
    """For each picture whether the classifier sees its class."""
    return (
        torch.cat([net(part) for part in x.split(64)]).argmax(1) == torch.tensor(labels)
    ).numpy()


def held_out(work: Path) -> tuple[Tensor, list[int]]:
    rows = [
        (i, CLASSES.index(r["folder"]))
        for i, r in enumerate(load_index(work))
        if r["held_out"] and r["folder"] in CLASSES
    ]
    return to_unit(open_memmap(work / "views.npy", "r")[[i for i, _ in rows], 0]), [
        label for _, label in rows
    ]


def sample(pipe: DiffusionPipeline, guidance: float) -> Tensor:
    """Eight pictures a class; the starting noise of picture k of a class is the same at every
    guidance."""
    pictures = []
    for c, prompt in enumerate(PROMPTS):
        rngs = [torch.Generator().manual_seed(1000 * c + k) for k in range(PER_CLASS)]
        out = pipe(  # pyright: ignore[reportCallIssue]
            [prompt] * PER_CLASS,
            guidance_scale=guidance,
            num_inference_steps=STEPS,
            generator=rngs,
            output_type="pt",
        )
        pictures.append(out.images)
    return torch.cat(pictures)


def blind_sheet(pictures: Tensor, labels: list[int], folder: Path, name: str) -> None:
    """Shuffled samples without a word, fourteen a row, and the answers in a file apart (row by
    row)."""
    order = np.random.default_rng(3).permutation(len(labels))
    save_sheet(pictures[order].split(14), folder / f"{name}.png")
    answers = [name_of(CLASSES[labels[i]]) for i in order]
    (folder / f"{name}-answers.json").write_text(
        json.dumps([answers[i : i + 14] for i in range(0, len(answers), 14)], indent=1)
    )


def judge_one(
    net: nn.Module, folder: Path, name: str, real: tuple[Tensor, list[int]], sheets: Path | None
) -> dict:
    """Agreement of one pipeline's samples with their prompts at each guidance, and of real photos
    after its autoencoder."""
    coder = (kl_coder if name == "tiny" else small_coder)(folder / "vae")
    labels = [c for c in range(len(CLASSES)) for _ in range(PER_CLASS)]
    groups = [CLASSES[c] for c in labels]
    seen = right(net, round_trip(coder, real[0])[1], real[1])
    result: dict = {"real_after_vae": summary(seen, [CLASSES[c] for c in real[1]]), "guidance": {}}
    index = json.loads((folder / "model_index.json").read_text())
    # diffusers takes Stable Diffusion 3's T5 as absent only where it is told so
    absent = {k: None for k, v in index.items() if v == [None, None]}
    pipe = DiffusionPipeline.from_pretrained(folder, **absent)
    pipe.set_progress_bar_config(disable=True)
    for guidance in GUIDANCE:
        pictures = sample(pipe, guidance)
        hits = right(net, pictures, labels)
        per_class = {c: int(hits[[g == c for g in groups]].sum()) for c in CLASSES}
        result["guidance"][f"{guidance:g}"] = summary(hits, groups) | {"per_class": per_class}
        print(f"{name} guidance {guidance:g}: {hits.mean():.3f}", flush=True)
        if sheets:
            blind_sheet(pictures, labels, sheets, f"samples-{name}-{guidance:g}")
    return result


def judge(work: Path, minutes: float) -> tuple[nn.Module, tuple[Tensor, list[int]], dict]:
    """The classifier, held-out real photos with their labels, and its score on them; ends the
    program where that is too low."""
    net, real = train(work, minutes), held_out(work)
    hits = right(net, *real)
    print(f"judge on held-out real photos: {hits.mean():.3f} of {len(hits)}", flush=True)
    if hits.mean() < ENOUGH:
        raise SystemExit(
            f"The classifier is right on {hits.mean():.0%} of held-out photos, not {ENOUGH:.0%}: "
            "train it longer."
        )
    result: dict = {
        "judge": summary(hits, [CLASSES[c] for c in real[1]]),
        "chance": round(1 / len(CLASSES), 4),
        "prompts": PROMPTS,
    }
    return net, real, result


def measure(work: Path, model: Path, sheets: Path | None, minutes: float) -> dict:
    """Agreement of samples with prompts for each complete pipeline under `model`, beside the score
    of real photos."""
    folder = outside(sheets) if sheets else None
    net, real, result = judge(work, minutes)
    for place, name in (("tiny", "tiny"), ("tiny-b", "tiny-b")):
        if (model / place / "model_index.json").exists():
            result[name] = judge_one(net, model / place, name, real, folder)
    return result
