"""Does a surrogate's training run at the speed of PGD? FLOPs and CPU seconds of a step of each, on
`tiny`, one thread, in one process, by turns.

    python benchmarks/training_rate.py [--rounds 5]

A PGD step is ASPL's, on five photos (noise: content costs nothing). A training step learns one
photo and one class picture. Its seconds are a third of a call of three steps, which is what
protections ask for at a time: the optimizer's making is in them. Beside them stand the convolutions
of a step, by what computes them: oneDNN, or ATen's own (a matrix product, which one thread computes
faster where kernels are 1 x 1). The median of the rounds counts, of either side. FLOPs are counted
after the rounds: what counts them changes how memory lies, and PGD's time with it by a tenth. Into
results/training_rate.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from cloakwork.environment import surroundings
from cloakwork.files import write_json
from cloakwork.finetuning.latent_dataset import encode_dataset
from cloakwork.finetuning.training import Training, train_steps
from cloakwork.models import loading
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import losses
from cloakwork.photos.preprocessing import preprocess
from cloakwork.types import Photos

PHOTOS, HEIGHT, WIDTH = 5, 330, 270
STEPS = 3  # of training, a call
WORDS, CLASS_WORDS = "a photo of sks person", "a photo of person"


def training_call(ldm: LDM, photos: Photos) -> Callable[[], None]:
    """Three steps on photos, which stand for class pictures too."""
    pictures = preprocess(photos, ldm.size)
    subject, prior = (encode_dataset(ldm, pictures, words) for words in (WORDS, CLASS_WORDS))
    rng = torch.Generator().manual_seed(0)
    return lambda: train_steps(ldm, subject, prior, Training(lr=1e-6), STEPS, rng)


def pgd_call(ldm: LDM, photos: Photos) -> Callable[[], None]:
    """ASPL's gradient by all photos, without its sign and projection, which are no FLOPs."""
    rng = torch.Generator().manual_seed(0)
    c = ldm.embed([WORDS])
    gradient = losses.gradient(ldm, losses.denoising(ldm, c, rng), rng)

    def call() -> None:
        gradient(photos, list(range(len(photos))))

    return call


def counted(call: Callable[[], None], steps: int) -> dict[str, float]:
    """GFLOP and convolutions of a step."""
    with FlopCounterMode(display=False) as flops:
        call()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        call()
    calls = {event.key: event.count for event in seen.key_averages()}
    kinds = {"onednn": "aten::mkldnn_convolution", "other": "aten::_slow_conv2d_forward"}
    return {"gflop": flops.get_total_flops() / 1e9 / steps} | {
        f"convolutions_{kind}": calls.get(name, 0) / steps for kind, name in kinds.items()
    }


def seconds(call: Callable[[], None]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/training_rate.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng, ldm = torch.Generator().manual_seed(0), loading.load("tiny", "cpu").copy()
    photos = list(torch.rand(PHOTOS, 3, HEIGHT, WIDTH, generator=rng))
    calls = {"pgd": (pgd_call(ldm, photos), 1), "training": (training_call(ldm, photos), STEPS)}
    for call, _ in calls.values():
        call()
    taken = {name: [] for name in calls}
    for _ in range(args.rounds):
        for name, (call, steps) in calls.items():
            taken[name].append(seconds(call) / steps)
    found = {name: counted(call, steps) for name, (call, steps) in calls.items()}
    for name, cell in found.items():
        cell["cpu_seconds"] = statistics.median(taken[name])
        cell["gflop_per_second"] = cell["gflop"] / cell["cpu_seconds"]
    share = found["training"]["gflop_per_second"] / found["pgd"]["gflop_per_second"]
    told = {
        "rounds": args.rounds,
        "steps": {k: {name: round(v, 4) for name, v in cell.items()} for k, cell in found.items()},
        "share_of_pgds_rate": round(share, 3),
        "surroundings": surroundings(ldm.device),
    }
    write_json(args.out, told)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
