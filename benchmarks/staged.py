"""One protection in a process of its own, for stages.py: python benchmarks/staged.py PHOTOS OUT
PROTECTION

Prints a line of JSON: CPU seconds of each stage, those of the whole run, and peak memory, MB.
Imports and surrogates count for the memory, not for the seconds.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

import torch
from PIL import Image

from cloakwork import specs
from cloakwork.environment import peak_memory_mb
from cloakwork.models import loading
from cloakwork.workflows import protect, protect_photo, protect_set

# none of them calls another
STAGES: dict[str, tuple[tuple[ModuleType, str], ...]] = {
    "load": ((protect, "plan_protection"), (protect_set, "load_narrow")),
    "apply": ((protect_set, "run_protection"), (protect_photo, "add_within")),
    "encode": ((protect_photo, "save_photo"),),
    # the file is read again to be measured
    "measure": ((protect_photo, "load_photo"), (protect_photo, "_record")),
}


def watch(spent: dict[str, float], stage: str, owner: ModuleType, name: str) -> None:
    """Replaces a function by one whose CPU seconds are added to its stage."""
    original: Callable[..., Any] = getattr(owner, name)
    spent.setdefault(stage, 0.0)

    @wraps(original)
    def timed(*args: Any, **how: Any) -> Any:
        begun = time.process_time()
        try:
            return original(*args, **how)
        finally:
            spent[stage] += time.process_time() - begun

    setattr(owner, name, timed)


def main(photos: str, out: str, protection: str) -> None:
    torch.set_num_threads(1)
    method = specs.method("protections", protection)
    if getattr(method.module, "USES_SURROGATES", True):
        loading.load("tiny", "cpu")
    with tempfile.TemporaryDirectory() as folder:  # imports what is imported on the way
        Image.new("RGB", (64, 64), "red").save(f"{folder}/a.png")
        protect.protect(f"{folder}/a.png", f"{folder}/out", protection="noise")
    spent: dict[str, float] = {}
    for stage, functions in STAGES.items():
        for owner, name in functions:
            watch(spent, stage, owner, name)
    begun = time.process_time()
    protect.protect([photos], out, protection=method)
    spent["all"] = time.process_time() - begun
    seconds = {stage: round(taken, 3) for stage, taken in spent.items()}
    print(json.dumps(seconds | {"peak_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
