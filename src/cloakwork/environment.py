"""The environment of a run: what decides the bytes beside the code, and the memory it took."""

from __future__ import annotations

import platform
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
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


def computed_on(device: torch.device) -> list[Any]:
    """Return what decides the rounding, as it stands in keys: kind of device, torch, threads."""
    return [device.type, torch.__version__, torch.get_num_threads()]


@lru_cache
def commit() -> str:
    """Return the commit of the checkout that the package runs from, with "-dirty" where files of it
    were changed; "" where it was installed without one.
    """
    here = Path(__file__)

    def git(*words: str) -> str:
        command = ["git", "-C", str(here.parent), *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if not done.returncode else ""

    try:
        # an environment may lie in somebody else's repository, whose commit says nothing of it
        return git("describe", "--always", "--dirty") if git("ls-files", here.name) else ""
    except (OSError, subprocess.SubprocessError):
        return ""


def peak_memory_mb() -> int:
    """Return the most memory that this process has held so far, in MB; 0 on Windows."""
    with suppress(OSError, KeyError):
        # on Linux a process inherits the peak of the one that started it, but here it does not
        lines = Path("/proc/self/status").read_text().splitlines()
        kilobytes, _ = dict(line.split(":", 1) for line in lines)["VmHWM"].split()
        return round(int(kilobytes) * 1024 / 1e6)
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024  # macOS reports bytes, Linux kilobytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)
