"""Files of tensors (safetensors) that appear whole or not at all, and that tell whether they are
what was written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cloakwork.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUM = "sha256"  # what a file of tensors calls that of its content


def write_tensors(path: Path, tensors: dict[str, Tensor], *, checksum: bool = False) -> None:
    """Write a safetensors file that appears whole or not at all.

    Args:
        path: the file.
        tensors: on the CPU.
        checksum: for `read_tensors`, in the file's header.
    """
    with atomic_write(path) as part:
        save_tensors(part, tensors, {CHECKSUM: _checksum(tensors)} if checksum else None)


def read_tensors(path: Path, *, without_checksum: bool = False) -> dict[str, Tensor] | None:
    """Read a file that `write_tensors` wrote with a checksum.

    Args:
        path: the file.
        without_checksum: take one without a checksum too, which earlier versions wrote.

    Returns:
        None where there is none, or it holds other tensors than were written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            checksum = (file.metadata() or {}).get(CHECKSUM)
    except (OSError, SafetensorError):
        return None
    old = without_checksum and checksum is None
    return tensors if old or checksum == _checksum(tensors) else None


def _checksum(tensors: dict[str, Tensor]) -> str:
    """Return the sha256, hex, over the names, types, shapes and bytes of tensors on the CPU."""
    import torch

    total = hashlib.sha256()
    for name, x in sorted(tensors.items()):
        total.update(repr((name, str(x.dtype), tuple(x.shape))).encode())
        total.update(x.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def save_tensors(
    path: Path, tensors: dict[str, Tensor], about: dict[str, str] | None = None
) -> None:
    """Write a safetensors file straight to its place.

    Args:
        path: the file.
        tensors: its content.
        about: what its header says beside it.

    Raises:
        OSError: the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # the library writes to a random name first, which a killed process leaves: in a folder of its
    # own it is found again
    place = scratch_folder(path)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, place / "tensors", about)
        path.touch()
        # as readable as other files to those who share the folder
        shutil.copymode(path, place / "tensors")
        os.replace(place / "tensors", path)
    except SafetensorError as error:  # how the library says that the disk is full
        raise OSError(str(error)) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def scratch_folder(path: Path) -> Path:
    """Return the folder for libraries that write a file of a random name before they rename it.

    >>> scratch_folder(Path("weights.safetensors")).name
    'weights.safetensors.d'
    """
    return path.with_name(f"{path.name}.d")
