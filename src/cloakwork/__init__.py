"""Protects photos from being learned or edited by text-to-image diffusion models, and attacks that protection.

Its functions (`load`, `protect`, `purify`, `attack`, `score`, `audit`, `inspect`, `bench`) are imported on first use: `import
cloakwork` imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cloakwork._version import __version__
from cloakwork.errors import UserError

if TYPE_CHECKING:
    from cloakwork.auditing import audit
    from cloakwork.benching import bench
    from cloakwork.inspecting import inspect
    from cloakwork.jobs import protect
    from cloakwork.models.loading import load
    from cloakwork.purifying import purify
    from cloakwork.theft import attack, score

__all__ = ["UserError", "__version__", "attack", "audit", "bench", "inspect", "load", "protect", "purify", "score"]

_HOME = {
    "attack": "cloakwork.theft",
    "audit": "cloakwork.auditing",
    "bench": "cloakwork.benching",
    "inspect": "cloakwork.inspecting",
    "load": "cloakwork.models.loading",
    "protect": "cloakwork.jobs",
    "purify": "cloakwork.purifying",
    "score": "cloakwork.theft",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'cloakwork' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
