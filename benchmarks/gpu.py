"""What protections take of a GPU: seconds, memory, and the share of its bf16 peak.

Run on a machine with one: python benchmarks/gpu.py [--peak TFLOPS] [--only NAME ...]
                                                    [--file results/gpu.json]

Two parts, in bfloat16 arithmetic. *methods*: a step of `pid` and a turn of `aspl` and `metacloak`
(preset `paper`, without class pictures) on five photos, against `tiny` at 128 px and the shapes of
Stable Diffusion 1.5 at 512 px: as it is, with `--graphs`, and with what learns nothing new compiled
by torch. *families*: a step of `advdm` on one photo at every family's real size. Weights are random
but for `tiny`'s; those of the families' denoisers are kept in bfloat16, as with `--low-memory`.

FLOPs are counted as they are computed. The file is written on cuda alone, line by line; a line that
failed says why.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import families
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cloakwork import registry
from cloakwork.environment import surroundings
from cloakwork.files import write_json
from cloakwork.models import loading
from cloakwork.models.device import pick_device
from cloakwork.models.ldm import LDM
from cloakwork.models.text import Text
from cloakwork.perturbation import losses
from cloakwork.photos.preprocessing import Preprocessing
from cloakwork.state import RunState
from cloakwork.types import Photos
from cloakwork.workflows.dry_run import own_cache

PHOTOS, TURNS, WARM = 5, 10, 4  # of the turns, the first few are not timed
STEPS = 3  # of a family, timed
METHODS = {
    "pid": {"steps": TURNS},
    "aspl": {"outer": TURNS, "class_images": 0},
    "metacloak": {"steps": TURNS, "class_images": 0, "M": 2, "surrogate_steps": 2},
}
# TFLOP a second of dense bf16, from the makers' sheets; the first name that is in the card's counts
PEAKS = {
    "B200": 2250,
    "H200": 989,
    "H100 PCIe": 756,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "A10": 125,
    "RTX 4090": 165,
    "RTX 3090": 71,
}


def models(device: torch.device) -> dict[int, LDM]:
    """The models of the first part, by the size at which they see photos."""
    tiny = loading.load("tiny", str(device), "bfloat16")
    stable = families.build("Stable Diffusion 1.5", 512, device)
    return {128: tiny, 512: replace(stable, dtype=torch.bfloat16)}


def peak_of(card: str) -> float | None:
    """TFLOP a second that a card can do at most; None for one that is not in the table."""
    return next((peak for name, peak in PEAKS.items() if name in card), None)


@contextmanager
def compiled(ldm: LDM) -> Iterator[LDM]:
    """The model with its passes compiled, and those of its copies."""
    copy, parts = LDM.copy, list[nn.Module]()

    def compile_parts(ldm: LDM) -> LDM:
        for part in (ldm.vae.encoder, ldm.vae.decoder, ldm.denoiser):
            part.compile()
            parts.append(part)
        return ldm

    with patch.object(LDM, "copy", lambda self, **how: compile_parts(copy(self, **how))):
        yield compile_parts(ldm)
    for part in parts:
        part._compiled_call_impl = None
    torch.compiler.reset()


def ways(ldm: LDM) -> dict[str, Any]:
    """The model in every way in which its passes may be computed, as contexts."""
    plain = {"plain": nullcontext(ldm)}
    if ldm.device.type != "cuda":
        return plain
    return plain | {"graphs": nullcontext(replace(ldm, graphs=True)), "compile": compiled(ldm)}


def turns(name: str, ldm: LDM, photos: Photos, now: Callable[[], float]) -> list[float]:
    """How much `now` goes up in each turn of a protection, after the first few."""
    module = registry.load("protections", name)
    config = replace(module.PRESETS["paper"], **METHODS[name])
    seen: list[float] = []

    def told(loop: str, done: int, total: int) -> None:
        if loop == name:
            seen.append(now())

    rng, state = torch.Generator().manual_seed(0), RunState(None, name, told)
    with own_cache():
        module.protect(photos, [ldm], config, clean=None, rng=rng, state=state)
    return [b - a for a, b in zip(seen[WARM:], seen[WARM + 1 :], strict=False)]


def clock(device: torch.device) -> float:
    """Seconds, when all that was asked for is computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def taken(
    seconds: list[float], flops: float, device: torch.device, peak: float | None
) -> dict[str, float]:
    """A line of the file."""
    middle = statistics.median(seconds)
    line = {"seconds": middle, "tflop": flops / 1e12}
    if device.type == "cuda":
        line["gb"] = torch.cuda.max_memory_allocated(device) / 1e9
        torch.cuda.reset_peak_memory_stats(device)
    return line if peak is None else line | {"share": flops / 1e12 / middle / peak}


def of_method(name: str, ldm: LDM, peak: float | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """A turn of a protection in every way."""
    device = ldm.device
    photos = [torch.rand(3, ldm.size, ldm.size, device=device) for _ in range(PHOTOS)]
    with FlopCounterMode(display=False) as counter:
        counted = tried(lambda: {"each": turns(name, ldm, photos, counter.get_total_flops)})
    if "failed" in counted:
        yield "plain", counted
        return
    flops = counted["each"][-1]
    for way, lent in ways(ldm).items():
        with lent as model:
            yield way, tried(lambda model=model: _timed_turns(name, model, photos, flops, peak))


def _timed_turns(
    name: str, ldm: LDM, photos: Photos, flops: float, peak: float | None
) -> dict[str, Any]:
    device = ldm.device
    return taken(turns(name, ldm, photos, lambda: clock(device)), flops, device, peak)


def tried(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured, or why it could not be: the lines that are left are wanted all the
    same."""
    try:
        return measure()
    except RuntimeError as error:  # no memory, or nothing that torch can compile
        return {"failed": str(error).partition("\n")[0]}


def real(name: str, size: int, device: torch.device) -> tuple[LDM, Text]:
    """A family's model with random weights on a device, without what reads prompts; and what that
    would say of one, at random."""
    shape = families.told(families.build(name, size))
    torch.set_default_dtype(torch.bfloat16)
    try:
        ldm = families.build(name, size, device)
    finally:
        torch.set_default_dtype(torch.float32)
    ldm = replace(ldm, text_encoder=None, text_encoder_2=None, text_encoder_3=None)
    ldm.vae.float()
    for layer in ldm.denoiser.modules():
        if not isinstance(layer, (nn.Linear, nn.Conv2d)):
            for p in layer.parameters(recurse=False):
                p.data = p.data.float()

    def drawn(t: Tensor) -> Tensor:
        return torch.rand(t.shape, device=device)

    text = Text(*(drawn(t) for t in shape.tensors), lengths=shape.lengths)
    return replace(ldm, dtype=torch.bfloat16), text


def of_family(name: str, size: int, device: torch.device, peak: float | None) -> dict[str, Any]:
    """A step of `advdm` on one photo."""
    ldm, c = real(name, size, device)
    rng, photo = torch.Generator().manual_seed(0), torch.rand(3, size, size, device=device)
    step = losses.gradient(ldm, losses.denoising(ldm, c, rng), rng, loader=Preprocessing())
    with FlopCounterMode(display=False) as counter:
        step([photo], [0])
    seconds = []
    for _ in range(STEPS):
        begun = clock(device)
        step([photo], [0])
        seconds.append(clock(device) - begun)
    weights = sum(p.nbytes for part in ldm.networks.values() for p in part.parameters())
    line = taken(seconds, counter.get_total_flops(), device, peak)
    return line | {"weights_gb": weights / 1e9}


def measure(device: torch.device, only: list[str], peak: float | None) -> Iterator[dict[str, Any]]:
    """All that is found, after each line of it."""
    found: dict[str, Any] = {
        "where": surroundings(device),
        "peak": peak,
        "methods": {},
        "families": {},
    }
    asked = [name for name in METHODS if name in only]
    for size, ldm in models(device).items() if asked else ():
        for name in asked:
            for way, line in of_method(name, ldm, peak):
                found["methods"].setdefault(str(size), {}).setdefault(name, {})[way] = line
                print(size, name, way, line, flush=True)
                yield found
    for name in (name for name in families.MODELS if name in only):
        for size in families.SIZES:
            line = tried(lambda name=name, size=size: of_family(name, size, device, peak))
            found["families"].setdefault(name, {})[str(size)] = line
            print(size, name, line, flush=True)
            yield found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--peak", type=float, help="TFLOP a second of bf16, of a card not known")
    parser.add_argument("--only", nargs="*", default=[*METHODS, *families.MODELS])
    parser.add_argument("--file", type=Path, default=Path("results/gpu.json"))
    args = parser.parse_args()
    device = pick_device(args.device)
    cuda = device.type == "cuda"
    peak = args.peak or (peak_of(torch.cuda.get_device_name(device)) if cuda else None)
    for found in measure(device, args.only, peak):
        if cuda:
            write_json(args.file, found)


if __name__ == "__main__":
    main()
