"""Protects photos from being learned or edited by text-to-image diffusion models, and attacks that
protection.

Its functions (`load`, `protect`, `purify`, `attack`, `score`, `audit`, `inspect`, `bench`, `check`,
`undo`, `learn_pattern`, `train_purifier`, `try_photos`, `mine`, and for pictures in memory
`protect_images`, `purify_images`, `score_images`) are imported on first use: `import cloakwork`
imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cloakwork._version import __version__
from cloakwork.errors import UserError

if TYPE_CHECKING:
    from cloakwork.models.loading import load
    from cloakwork.workflows.attack import attack
    from cloakwork.workflows.audit import audit
    from cloakwork.workflows.bench import bench
    from cloakwork.workflows.check import check
    from cloakwork.workflows.images import protect_images, purify_images, score_images
    from cloakwork.workflows.inspect import inspect
    from cloakwork.workflows.learn_pattern import learn_pattern
    from cloakwork.workflows.mine import mine
    from cloakwork.workflows.protect import protect
    from cloakwork.workflows.purify import purify
    from cloakwork.workflows.score import score
    from cloakwork.workflows.train_purifier import train_purifier
    from cloakwork.workflows.try_photos import try_photos
    from cloakwork.workflows.undo import undo

__all__ = [
    "UserError",
    "__version__",
    "attack",
    "audit",
    "bench",
    "check",
    "inspect",
    "learn_pattern",
    "load",
    "mine",
    "protect",
    "protect_images",
    "purify",
    "purify_images",
    "score",
    "score_images",
    "train_purifier",
    "try_photos",
    "undo",
]

_HOME = {
    "attack": "cloakwork.workflows.attack",
    "audit": "cloakwork.workflows.audit",
    "bench": "cloakwork.workflows.bench",
    "check": "cloakwork.workflows.check",
    "inspect": "cloakwork.workflows.inspect",
    "learn_pattern": "cloakwork.workflows.learn_pattern",
    "load": "cloakwork.models.loading",
    "mine": "cloakwork.workflows.mine",
    "protect": "cloakwork.workflows.protect",
    "protect_images": "cloakwork.workflows.images",
    "purify": "cloakwork.workflows.purify",
    "purify_images": "cloakwork.workflows.images",
    "score": "cloakwork.workflows.score",
    "score_images": "cloakwork.workflows.images",
    "train_purifier": "cloakwork.workflows.train_purifier",
    "try_photos": "cloakwork.workflows.try_photos",
    "undo": "cloakwork.workflows.undo",
}


def __getattr__(name: str) -> Any:
    """Import one of the package's functions on first use."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'cloakwork' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the package, those not yet imported included."""
    return sorted([*globals(), *_HOME])
