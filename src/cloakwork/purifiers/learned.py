"""Learned: a network that has seen what the tool under attack adds takes it away again.

Any tool that people can run gives pairs of clean and protected photos, and from a few of them a
network learns to undo it: LightShed (USENIX Security 2025) reconstructs the perturbation,
BridgePure (arXiv 2412.21061) bridges from protected to clean photos. Here a small network, trained
by `cloakwork train-purifier`, estimates the perturbation, which is subtracted. The package has two,
which have learned from photos protected by `pid` and by `pid:lasting` (`training/purifier.py`).

Departures: neither paper's network (theirs take a GPU for days or hours; this one under an hour of
two cores); it also says how sure it is that a photo was protected, and leaves alone those of which
it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cloakwork.files import expand_home
from cloakwork.models import cleaner, hub
from cloakwork.models.ldm import LDM
from cloakwork.types import Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Which network."""

    weights: str = ""
    """folder that `cloakwork train-purifier` wrote; or the package's own: empty, against `pid`, or
    lasting, against `pid:lasting`"""
    every: bool = False
    """purify those photos too that the network takes for untouched"""


def instrument(cfg: Config) -> str:
    """Name the network's weights."""
    return hub.identity(str(_folder(cfg)))


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes.

    Raises:
        UserError: the network is not there.
    """
    folder = _folder(cfg)

    def pure(photo: Tensor) -> Tensor:
        found, told = cleaner.look(cleaner.load(folder, photo.device), photo)
        return (photo - found).clamp(0, 1) if cfg.every or told > 0 else photo

    return [pure(p) for p in photos]


def _folder(cfg: Config) -> Path:
    """Return the folder of the network."""
    return cleaner.EMBEDDED.get(cfg.weights) or Path(expand_home(cfg.weights))
