"""A method on trial: on small photos, by short schedules, each kind in its own way."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.evaluation.returned import check_photos, title
from cloakwork.evaluation.run import run_attacker, run_protection
from cloakwork.files import SAMPLE_PHOTOS
from cloakwork.metrics._measure import measure
from cloakwork.models.sampling import Sampling
from cloakwork.photos.tensors import from_pil
from cloakwork.specs import Method
from cloakwork.state import RunState
from cloakwork.types import Photos

# a protection's fields that are shortened: for what holds after any number of steps, with every
# phase once on either side of a checkpoint
SHORT: dict[str, Any] = {
    "steps": 2,
    "outer": 2,
    "class_images": 2,
    "surrogate_steps": 2,
    "clean_steps": 1,
    "pgd_steps": 1,
    "adv_steps": 1,
    "lora_steps": 1,
    "M": 2,
}
# fields of an attacker that trains
LESSONS: dict[str, Any] = {
    "steps": 3,
    "batch": 2,
    "class_images": 2,
    "sampling": Sampling(n=2, steps=2),
}
PROMPTS = ["a photo of sks person", "a portrait of sks person"]
SEED = 1


@dataclass(frozen=True)
class Trial:
    """A method, and what it is tried on."""

    method: Method
    """with the laptop preset"""
    model: Any
    """surrogate, victim or a purifier's model; None where it asks for none"""
    photos: Photos
    """an oblong one, a tall one and a square"""

    @property
    def module(self) -> ModuleType:
        """The module that the method is."""
        return self.method.module

    @property
    def models(self) -> list[Any]:
        """The surrogates of a protection."""
        return [self.model] if self.model else []

    def short(self, *schedules: dict[str, Any]) -> Method:
        """Return the method with those fields of schedules that its Config has."""
        return replace(self.method, config=shortened(self.method.config, *schedules))


def trial(method: Method, model: Any, device: torch.device) -> Trial:
    """Return a trial on three sample photos of about the model's size."""
    side = model.size if model else 128
    sizes = [(side * 21 // 16, side), (side, side * 75 // 64), (side, side)]
    files = sorted(SAMPLE_PHOTOS.glob("*.*g"))[: len(sizes)]
    photos = [_read(f, s).to(device) for f, s in zip(files, sizes, strict=True)]
    return Trial(method, model, photos)


def lean(module: ModuleType) -> dict[str, Any]:
    """Return the fields that a module itself sets for trials, by a constant TRIAL."""
    return getattr(module, "TRIAL", {})


def shortened(config: Any, *schedules: dict[str, Any]) -> Any:
    """Return a Config with those fields of schedules that it has; later schedules win.

    A Config that refuses them is left as it is.

    >>> from cloakwork.purifiers.jpeg import Config
    >>> shortened(Config(), {"steps": 2, "quality": 40}).quality
    40
    """
    wanted = {k: v for schedule in schedules for k, v in schedule.items() if hasattr(config, k)}
    try:
        return replace(config, **wanted)
    except UserError:
        return config


def protected(trial: Trial, photos: Photos, state: RunState | None = None, **fields: Any) -> Photos:
    """Return what a protection adds to photos on its short schedule."""
    return run_protection(
        trial.short(SHORT, fields),
        photos,
        trial.models,
        clean=None,
        rng=rng(),
        state=state or RunState(),
    )


def attacked(trial: Trial, photos: Photos) -> Photos:
    """Return an attacker's pictures for two prompts."""
    method = trial.short(LESSONS if trial.method.trains else {}, lean(trial.module))
    made = run_attacker(
        method, photos, trial.model, PROMPTS, masks=None, rng=rng(), state=RunState()
    )
    samples = getattr(trial.module, "SAMPLES", False)
    if samples and len(made) != method.config.sampling.n * len(PROMPTS):
        raise UserError(
            f"{title(method)} returned {len(made)} pictures for {len(PROMPTS)} prompts; its "
            f"Config.sampling asks for {method.config.sampling.n} each. Return so many, "
            "or leave SAMPLES out."
        )
    return list(made)


def purified(trial: Trial, photos: Photos) -> Photos:
    """Return photos after a purifier, one after the other with the same generator."""
    draws, made, config = rng(), [], trial.short(lean(trial.module)).config
    for photo in photos:
        pure = trial.module.purify([photo], trial.model, config, rng=draws)
        check_photos(trial.method, [photo], pure)
        made.append(pure[0])
    return made


def scored(trial: Trial, photos: Photos, prompts: bool = True) -> Photos:
    """Return a metric's numbers for photos that have been changed a little, as one tensor."""
    metric, changed = trial.module.METRIC, [0.9 * p + 0.05 for p in photos]
    reference = {"originals": photos, "subject": trial.photos}.get(metric.reference)
    asked = [PROMPTS[0]] * len(photos) if prompts else None
    values = measure(trial.method.name, changed, reference, asked, trial.method.config).values
    low, high = metric.range
    if outside := [v for v in values if v < low - 1e-4 or v > high + 1e-4]:
        raise UserError(
            f"{title(trial.method)} returned {outside[0]:.4g}, outside METRIC.range "
            f"({low:g} to {high:g}). Widen the range, or mend the number."
        )
    return [torch.tensor(values)]


RUN: dict[str, Callable[[Trial, Photos], Photos]] = {
    "protections": protected,
    "attackers": attacked,
    "purifiers": purified,
    "metrics": scored,
}


def run(trial: Trial, photos: Photos) -> Photos:
    """Return what a method of any kind makes of photos, of which it is given copies."""
    return RUN[trial.method.kind](trial, copies(photos))


@contextmanager
def others_at(seed: int) -> Iterator[None]:
    """Set the generators that no method may draw from to a seed, and back afterwards."""
    python, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpys)


def rng() -> torch.Generator:
    """Return what a method draws from."""
    return torch.Generator().manual_seed(SEED)


def copies(photos: Photos) -> Photos:
    """Return photos that may be written to."""
    return [p.clone() for p in photos]


def same(one: Photos, other: Photos) -> bool:
    """Return whether two results are the same to the bit; NaN is like NaN."""
    pairs = zip(one, other, strict=True)
    return len(one) == len(other) and all(
        a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs
    )


def weights(model: Any) -> str:
    """Return the hash of all weights of a model."""
    digest = hashlib.sha256()
    for network in getattr(model, "networks", {}).values():
        for tensor in network.state_dict().values():
            digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _read(file: Path, size: tuple[int, int]) -> Tensor:
    """Read a photo at a size (width, height)."""
    picture = Image.open(file).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    return from_pil(picture)
