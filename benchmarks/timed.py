"""One protection in a process of its own, for cost.py: python benchmarks/timed.py PHOTOS OUT
PROTECTION PRESET THREADS

Prints a line of JSON: photos, CPU seconds, and the share of the time that was spent outside of the
models' forward and backward passes, the loader and the optimizer, which is where a protection's own
code can waste some.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel

from cloakwork.photos import preprocessing
from cloakwork.workflows import protect


class Clock:
    """Adds up the time inside some functions; what one of them calls of the others counts once."""

    def __init__(self) -> None:
        self.inside, self.depth = 0.0, 0

    def watch(self, owner: Any, name: str) -> None:
        """Replaces a function or method by one that is timed."""
        original: Callable[..., Any] = getattr(owner, name)

        @wraps(original)
        def timed(*args: Any, **how: Any) -> Any:
            begun, self.depth = time.perf_counter(), self.depth + 1
            try:
                return original(*args, **how)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.inside += time.perf_counter() - begun

        setattr(owner, name, timed)


def main(photos: str, out: str, protection: str, preset: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    clock = Clock()
    for model in (UNet2DConditionModel, CLIPTextModel):
        clock.watch(model, "forward")
    for vae in (AutoencoderKL, AutoencoderTiny):
        clock.watch(vae, "encode")
        clock.watch(vae, "decode")
    clock.watch(torch.autograd, "grad")
    clock.watch(torch.Tensor, "backward")
    clock.watch(preprocessing, "preprocess")
    clock.watch(torch.optim.AdamW, "step")
    cpu, begun = time.process_time(), time.perf_counter()
    (result,) = protect.protect([photos], out, protection=protection, preset=preset)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    print(
        json.dumps(
            {
                "photos": len(result.photos),
                "cpu_seconds": round(cpu, 1),
                "outside": round(1 - clock.inside / wall, 3),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
