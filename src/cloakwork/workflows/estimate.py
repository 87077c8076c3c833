"""How long a protection will take, said before it begins.

The method itself runs for a few seconds, on these photos and this machine and by a short schedule,
while its passes are timed; how many passes the whole job has is known from its own code
(`dry_run`). The trial draws from a generator of its own and changes no byte of what follows.
"""

from __future__ import annotations

import shutil
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from cloakwork import registry, specs
from cloakwork.evaluation.run import run_protection
from cloakwork.files import cache_folder
from cloakwork.metrics import noticed, psnr, ssim
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import pgd
from cloakwork.photos.saving import after_encoding
from cloakwork.photos.sizes import load_narrow
from cloakwork.photos.tensors import as_float
from cloakwork.state import RunState
from cloakwork.workflows.check_trial import shortened
from cloakwork.workflows.dry_run import own_cache
from cloakwork.workflows.protect_job import PhotoSetTask, ProtectJob
from cloakwork.workflows.workload import Workloads

# seconds after which a trial ends: with all kinds of passes seen, and ever
ENOUGH, TOO_LONG = 5, 60
WORTH_SAYING = 20  # seconds
# of a trial: some passes of every kind
SCHEDULE = {
    "steps": 3,
    "outer": 1,
    "class_images": 8,
    "surrogate_steps": 3,
    "lora_steps": 3,
    "M": 2,
}
# what a method's time is spent on; each kind of pass is known by how it ends
GRADIENT, LESSON, GLANCE = "gradient by photos", "step of training", "pass without a gradient"


class _Over(Exception):
    """The trial has seen enough."""


@dataclass
class _Clock:
    """Seconds and number of the passes so far, by kind."""

    wanted: set[str]
    device: torch.device
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    passes: Counter[str] = field(default_factory=Counter)
    begun: float = field(default_factory=time.monotonic)
    last: float = 0.0

    def tick(self, kind: str) -> None:
        """Count the pass of a kind that has just ended."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.monotonic()
        self.seconds[kind] += now - (self.last or self.begun)
        self.passes[kind] += 1
        self.last = now
        seen = self.wanted <= {k for k, n in self.passes.items() if n > 1}
        if now - self.begun > (ENOUGH if seen else TOO_LONG):
            raise _Over

    def each(self) -> dict[str, float]:
        """Return the seconds of one pass, by kind."""
        return {kind: self.seconds[kind] / n for kind, n in self.passes.items()}


def expectation(
    job: ProtectJob, tasks: Sequence[PhotoSetTask], workloads: Workloads
) -> Iterator[str]:
    """Yield a sentence on how long a job will take, and the quick protection.

    Args:
        job: what is to be done.
        tasks: the photo sets that are not done yet.
        workloads: count the method's passes.

    Yields:
        Nothing where it is too short to be worth it, or cannot be told.
    """
    seconds = seconds_expected(job, tasks, workloads) if tasks and job.surrogates else None
    if seconds is None or seconds < WORTH_SAYING:
        return
    n = sum(len(task.source.files) for task in tasks)
    told = f"This takes {about(seconds)} for {n} photo{'s' * (n != 1)}"
    if any(kept for task in tasks for kept in task.folder.glob("state-*.safetensors")):
        told += ", less what a stopped run has done already"
    if job.method.name != registry.DEFAULT_NAME:
        models = [model.name for model in job.surrogates]
        usual = specs.method("protections", registry.DEFAULT_PROTECTION, models)
        less = seconds_expected(replace(job, method=usual), tasks, workloads)
        if less is not None and less < seconds / 2:
            told += f"; --protection {registry.DEFAULT_PROTECTION} takes {about(less)}"
    yield f"{told}."


def about(seconds: float) -> str:
    """Return a time as one says it.

    >>> about(44), about(61), about(851), about(6300)
    ('less than a minute', 'about a minute', 'about 14 minutes', 'about 2 hours')
    """
    minutes = round(seconds / 60)
    if seconds < 45:
        return "less than a minute"
    if minutes <= 1:
        return "about a minute"
    return f"about {minutes} minutes" if minutes < 100 else f"about {round(minutes / 60)} hours"


def seconds_expected(
    job: ProtectJob, tasks: Sequence[PhotoSetTask], workloads: Workloads
) -> float | None:
    """Return how long photo sets will take; None where that cannot be told."""
    try:
        sizes = [len(task.source.files) for task in tasks]
        clean = len(job.clean.files) if job.clean else 0
        tried_at = [min(n, pgd.MICRO_BATCH) for n in sizes]
        passes_of = {n: _passes(job, n, clean, workloads) for n in set(tried_at)}
        wanted = [passes_of[n] for n in tried_at]
        # class pictures that were kept are drawn neither in the trial nor in the job
        each = {GLANCE: 0.0} | _trial(job, tasks[0], set().union(*wanted) - {GLANCE})
        # photos share a pass; the others are one for all photos
        batches = [{GRADIENT: n / tried_at[0]} for n in sizes]
        seconds = sum(
            count * each[kind] * share.get(kind, 1)
            for of, share in zip(wanted, batches, strict=True)
            for kind, count in of.items()
        )
        return seconds + sum(sizes) * _around(job, tasks[0])
    except Exception:
        return None  # whatever it is, the job itself will say it: no estimate is worth a failed job


def _passes(job: ProtectJob, photos: int, clean: int, workloads: Workloads) -> dict[str, int]:
    """Return how many passes of each kind the protection of a photo set has, none left out.

    Raises:
        ValueError: they cannot be counted.
    """
    surrogates = len(job.surrogates)
    counts = workloads.passes(job.method, photos=photos, surrogates=surrogates, clean=clean)
    if counts is None:
        raise ValueError(f"The passes of {job.method.name} cannot be counted.")
    found = {
        GRADIENT: counts.vae_encode_backward,
        LESSON: counts.training_steps,
        GLANCE: max(0, counts.unet - counts.unet_backward),
    }
    return {kind: n for kind, n in found.items() if n}


def _trial(job: ProtectJob, task: PhotoSetTask, wanted: set[str]) -> dict[str, float]:
    """Return the seconds of a pass of each kind, with up to `pgd.MICRO_BATCH` photos of a set."""
    config = job.method.config
    # where there are turns, steps are rounds of a search, of several gradients each
    schedule = SCHEDULE | ({"steps": 1} if hasattr(config, "outer") else {})
    fewer = {name: min(n, getattr(config, name, n)) for name, n in schedule.items()}
    method = replace(job.method, config=shortened(config, fewer))
    some = task.source.files[: pgd.MICRO_BATCH]
    photos = [as_float(task.at_hand.look(file)).to(job.device) for file in some]
    clean = [p.to(job.device) for p in job.clean.photos()] if job.clean else None
    rng, clock = torch.Generator().manual_seed(0), _Clock(wanted, job.device)
    with (
        warnings.catch_warnings(action="ignore"),
        torch.random.fork_rng(),
        _class_pictures_kept(),
        _watched(job.surrogates, clock.tick),
    ):
        try:
            run_protection(method, photos, job.surrogates, clean=clean, rng=rng, state=RunState())
        except _Over:
            pass
    return clock.each()


@contextmanager
def _watched(models: Sequence[Any], tick: Callable[[str], None]) -> Iterator[None]:
    """Call `tick` with the kind of each pass through models and their copies when it has ended."""

    def encoding(_: Any, given: tuple[Any, ...]) -> None:
        # an encoding that is made twice has one backward
        if torch.is_grad_enabled() and given[0].requires_grad:
            given[0].register_hook(lambda g: tick(GRADIENT))

    def denoised(_: Any, __: Any, out: Any) -> None:
        if not torch.is_grad_enabled() or not out[0].requires_grad:
            tick(GLANCE)

    hooks = [register_optimizer_step_post_hook(lambda *_: tick(LESSON))]
    for model in models:
        hooks.append(model.vae.encoder.register_forward_pre_hook(encoding))
        if isinstance(model, LDM):
            hooks.append(model.denoiser.register_forward_hook(denoised))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _class_pictures_kept() -> Iterator[None]:
    """Send what a trial would cache to a temporary folder, but for class pictures.

    These are the same as those that the job itself would draw, so they are not drawn twice.
    """
    kept = cache_folder().absolute()
    with own_cache() as own:
        for pictures in kept.glob("class-*"):
            (own / pictures.name).symlink_to(pictures, target_is_directory=True)
        try:
            yield
        finally:
            for made in own.glob("class-*"):
                if not made.is_symlink() and not (kept / made.name).exists():
                    kept.mkdir(parents=True, exist_ok=True)
                    shutil.move(made, kept / made.name)


def _around(job: ProtectJob, task: PhotoSetTask) -> float:
    """Return the seconds in which a photo is read, written and measured."""
    begun = time.monotonic()
    photo = load_narrow(task.source.files[0], job.width)
    saved = as_float(after_encoding(photo.pixels, photo, task.outputs[0], job.quality))
    for metric in (ssim, psnr, noticed):
        metric.score([saved], [as_float(photo.pixels)], None, metric.Config())
    return time.monotonic() - begun
