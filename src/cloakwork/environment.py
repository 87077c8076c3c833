"""What decides the bytes beside the code: versions, device, threads; and how much memory was
held.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any

import torch

from cloakwork._version import __version__

PACKAGES = ("torch", "diffusers", "transformers", "kornia", "pillow", "numpy")


def surroundings(device: torch.device) -> dict[str, Any]:
    """Versions, device and threads: with the seed they decide the bytes."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "python": platform.python_version(),
        "packages": {"cloakwork": __version__} | {p: version(p) for p in PACKAGES},
        "device": f"{device.type} ({name})",
        "threads": torch.get_num_threads(),
    }


def peak_memory_mb() -> int:
    """The most memory this process has held so far, in MB; 0 where the system does not tell
    (Windows).
    """
    try:
        import resource
    except ImportError:
        return 0
    unit = (
        1 if sys.platform == "darwin" else 1024
    )  # the kernel reports bytes on macOS, kilobytes on Linux
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)
