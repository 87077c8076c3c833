"""A fixed piece of work, by which bounds on time are stated whatever the machine."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from cloakwork.finetuning.latent_dataset import encode_dataset
from cloakwork.finetuning.training import Training, train_steps
from cloakwork.models.ldm import LDM
from cloakwork.protections import photoguard
from cloakwork.state import RunState

STEPS = 4


BATCH = 4


def step_seconds(model: LDM) -> float:
    """Measure a PGD step of PhotoGuard's encoder attack on five photos of the model's size.

    Returns:
        CPU seconds of this process on one thread, the best of three.
    """
    rng = torch.Generator().manual_seed(0)
    photos = [torch.rand(3, model.size, model.size, generator=rng) for _ in range(5)]
    config = replace(photoguard.PRESETS["tiny"], steps=STEPS)
    return _seconds_a_step(
        lambda: photoguard.protect(photos, [model], config, clean=None, rng=rng, state=RunState())
    )


def pass_seconds(model: LDM) -> float:
    """Measure a training step of the denoiser's weights in float32; it is three passes of a latent
    (forward, and backward twice as long) for each of its batch.

    Training is not as fast as PGD on every machine, so it is a measure of its own.

    Returns:
        CPU seconds of one pass on one thread, the best of three.
    """
    rng = torch.Generator().manual_seed(0)
    photos = torch.rand(BATCH, 3, model.size, model.size, generator=rng)
    subject, training = encode_dataset(model, photos, "a photo"), Training(lr=1e-9, batch=BATCH)
    model = copy.deepcopy(model)
    step = _seconds_a_step(lambda: train_steps(model, subject, None, training, STEPS, rng))
    return step / (3 * BATCH)


def lean_passes(config: Any) -> int:
    """Count the passes of a latent through the denoiser that an attacker cannot do without.

    Args:
        config: of an attacker that trains: its steps on pictures of the subject and of the class,
            and 16 pictures under guidance, and as many of the class.
    """
    classes = config.class_images if getattr(config, "prior_weight", 0) else 0
    learned = config.steps * config.batch * (2 if classes else 1)
    return 3 * learned + 2 * config.sampling.steps * (config.sampling.n + classes)


def _seconds_a_step(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one of STEPS steps on one thread, the best of three."""
    threads, took = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(3):
        begun = time.process_time()
        work()
        took.append((time.process_time() - begun) / STEPS)
    torch.set_num_threads(threads)
    return min(took)
