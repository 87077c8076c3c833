"""The environment of a run: what decides the bytes beside the code, and the memory it took."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any

import torch

from cloakwork._version import __version__

PACKAGES = ("torch", "diffusers", "transformers", "kornia", "pillow", "numpy")


def surroundings(device: torch.device) -> dict[str, Any]:
    """Return versions, device and threads: with the seed they decide the bytes."""
    on_cuda = device.type == "cuda"
    processor = platform.processor() or platform.machine()
    name = torch.cuda.get_device_name(device) if on_cuda else processor
    return {
        "python": platform.python_version(),
        "packages": {"cloakwork": __version__} | {p: version(p) for p in PACKAGES},
        "device": f"{device.type} ({name})",
        "threads": torch.get_num_threads(),
    }


def peak_memory_mb() -> int:
    """Return the most memory that this process has held so far, in MB; 0 on Windows."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024  # macOS reports bytes, Linux kilobytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)
