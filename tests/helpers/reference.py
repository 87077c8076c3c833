"""A fixed piece of work, by which bounds on time are stated whatever the machine."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from cloakwork.models.ldm import LDM
from cloakwork.protections import photoguard
from cloakwork.state import RunState

STEPS = 4


def step_seconds(model: LDM) -> float:
    """Measure a PGD step of PhotoGuard's encoder attack on five photos of the model's size.

    Returns:
        CPU seconds of this process on one thread, the best of three.
    """
    rng = torch.Generator().manual_seed(0)
    photos = [torch.rand(3, model.size, model.size, generator=rng) for _ in range(5)]
    config = replace(photoguard.PRESETS["tiny"], steps=STEPS)
    threads, took = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(3):
        begun = time.process_time()
        photoguard.protect(photos, [model], config, clean=None, rng=rng, state=RunState())
        took.append((time.process_time() - begun) / STEPS)
    torch.set_num_threads(threads)
    return min(took)
