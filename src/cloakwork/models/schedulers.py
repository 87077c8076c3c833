"""Samplers by name: diffusers' scheduler classes with the model's own noise schedule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cloakwork import registry
from cloakwork.errors import UserError

# name -> class in diffusers, its settings beside the model's own configuration
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    # as Stable Diffusion ships it: the Runge-Kutta steps of the paper cost nine more evaluations
    # and do not suit latents
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
STOCHASTIC = ("ddpm",)
# for models that match flows, along whose straight ways both take the same steps
OF_FLOWS = ("ddim", "euler")


def plan(
    own: Any,
    name: str,
    steps: int,
    strength: float = 1.0,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Any, Tensor]:
    """Make a scheduler and the timesteps that it is to go through.

    A scheduler remembers its last steps, so each batch needs one of its own.

    Args:
        own: the model's scheduler, whose noise schedule and kind of prediction are taken.
        name: one of SCHEDULERS.
        steps: steps from pure noise to a picture.
        strength: share of them that is done, the last int(steps * strength), as in diffusers'
            img2img; 0: none.
        settings: arguments of the scheduler's `set_timesteps`; None: the steps alone.

    Raises:
        UserError: an unknown name, or steps or a strength that are out of range.
    """
    import diffusers

    check_scheduler(own, name, steps, [strength])
    kind, fixed = SCHEDULERS[name]
    if predicted(own) == "flow":
        kind, fixed = "FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": False}
    scheduler = getattr(diffusers, kind).from_config(own.config, **fixed)
    scheduler.set_timesteps(**(settings or {"num_inference_steps": steps}))
    skipped = steps - int(steps * strength)
    if skipped == 0:
        return scheduler, scheduler.timesteps
    timesteps = scheduler.timesteps.unique_consecutive()[skipped:]
    if name == "pndm":
        # its second step corrects the first, whose timestep must come twice wherever it begins
        timesteps = torch.cat([timesteps[:2], timesteps[1:]])
    elif hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped)
    return scheduler, timesteps


def predicted(own: Any) -> str:
    """Return what a model with this scheduler predicts: "epsilon", "v_prediction", "flow"."""
    return own.config.get("prediction_type", "flow")


def check_scheduler(own: Any, name: str, steps: int, strengths: Sequence[float]) -> None:
    """Refuse what `plan` cannot do.

    Raises:
        UserError: as of `plan`; every strength that is out of range in a sentence of its own.
    """
    if name not in SCHEDULERS:
        raise registry.unknown("scheduler", name, list(SCHEDULERS))
    if predicted(own) == "flow" and name not in OF_FLOWS:
        raise UserError(
            f"The scheduler '{name}' is for models that predict noise; the one here matches flows. "
            f"Take {' or '.join(OF_FLOWS)}, which are the same for it."
        )
    most = own.config.num_train_timesteps
    if not 1 <= steps <= most:
        raise UserError(
            f"{steps} denoising steps were asked for; allowed are 1 to {most}, "
            "and 25 to 50 are usual."
        )
    if not strengths:
        raise UserError(
            "No strength was given; an editor needs at least one between 0 and 1, such as 0.5."
        )
    faults = [
        f"The strength {strength:g} is not between 0 (no edit) and 1 (nothing of the photo is "
        "kept)."
        for strength in strengths
        if not 0 <= strength <= 1
    ]
    if small := [s for s in strengths if 0 < s <= 1 and not int(steps * s)]:
        # what is enough for the smallest is enough for all
        enough = next(n for n in itertools.count(math.floor(1 / min(small))) if int(n * min(small)))
        advice = f"at least {enough} steps, or " if enough <= most else ""
        faults.append(
            f"The strength {min(small):g} of {steps} steps is less than one step; "
            f"take {advice}a strength of 1/{steps} or more."
        )
    if faults:
        raise UserError(*faults)


def seeds(name: str, n: int, rng: torch.Generator) -> list[int] | None:
    """Draw a seed for each of n pictures where the scheduler draws noise on its way.

    Each picture has its own, so that its noise depends neither on the model nor on how pictures are
    batched.

    Returns:
        n seeds; None, and `rng` stays as it was, where the scheduler draws none.

    >>> seeds("ddim", 2, torch.Generator())
    >>> len(seeds("ddpm", 2, torch.Generator()))
    2
    """
    return torch.randint(2**62, (n,), generator=rng).tolist() if name in STOCHASTIC else None


def pure(scheduler: Any, noise: Tensor) -> Tensor:
    """Return what a scheduler begins with, of standard normal noise."""
    return noise * getattr(scheduler, "init_noise_sigma", 1)


def scaled(scheduler: Any, z: Tensor, t: Tensor) -> Tensor:
    """Return latents as the denoiser is to see them at a timestep."""
    return scheduler.scale_model_input(z, t) if hasattr(scheduler, "scale_model_input") else z


def noised(scheduler: Any, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Add noise to clean latents z (n x c x h x w), to the amount of timestep t (0-dim).

    It is the timestep that the scheduler is about to take.
    """
    if predicted(scheduler) == "flow":
        sigma = t / scheduler.config.num_train_timesteps
        return (1 - sigma) * z + sigma * noise
    return scheduler.add_noise(z, noise, t.repeat(len(z)))
