"""The device that models run on, and the precision of their arithmetic."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from torch import nn

from cloakwork.errors import UserError

Network = TypeVar("Network", bound=nn.Module)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TYPES = ("cpu", "cuda", "mps")
# where Linux keeps limits of memory, and says which of them hold for this process
CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def pick_device(device: str = "auto") -> torch.device:
    """Return the device to run on; on cuda, convolutions are deterministic from then on.

    Args:
        device: "cpu", "cuda", "cuda:1", "mps"; "auto" is cuda where it is present, else cpu. mps,
            which nobody has tried, has to be asked for.

    Raises:
        UserError: the device cannot be used here.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(device).type not in TYPES:
            raise RuntimeError(f"no arithmetic on {device}")
        place = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"The device '{device}' cannot be used here; allowed are auto, cpu, cuda, cuda:N "
            "and mps where present."
        ) from error
    if place.type == "cuda":
        # else backward passes add up in any order, and the same seed gives other bytes
        torch.backends.cudnn.deterministic = True
    return place


def arithmetic(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of a name; warn once where the device has no instructions for it.

    Args:
        name: one of DTYPES.
        device: where it will be computed.

    Raises:
        UserError: unknown name.

    >>> arithmetic("float32", torch.device("cpu"))
    torch.float32
    """
    if name not in DTYPES:
        raise UserError(f"The dtype '{name}' is not known; allowed are {', '.join(DTYPES)}.")
    if device.type == "cpu" and not _has_instructions(name):
        _warn_of_imitation(name)
    return DTYPES[name]


def _has_instructions(name: str) -> bool:
    """Return whether this machine's processor computes in a dtype; True where nobody knows."""
    short = {"bfloat16": "bf16", "float16": "fp16"}.get(name)
    known = getattr(torch.ops.mkldnn, f"_is_mkldnn_{short}_supported", None) if short else None
    return known is None or bool(known())


@cache
def _warn_of_imitation(name: str) -> None:
    """Warn once a process: a run of minutes becomes one of hours."""
    warnings.warn(
        f"This processor has no instructions for {name} and imitates it, which takes tens of times "
        "as long as float32. Choose float32 on it.",
        stacklevel=4,
    )


def copied_to(device: torch.device, network: Network, dtype: torch.dtype | None = None) -> Network:
    """Return a copy of a frozen network on a device, its weights copied straight to there.

    Args:
        device: where the copy is.
        network: what is copied.
        dtype: what layers keep their weights in that autocast to it casts anyway, at every call;
            the copy computes the same. None: what they are in.
    """
    cast = {
        id(p)
        for layer in network.modules()
        if dtype is not None and isinstance(layer, (nn.Linear, nn.Conv2d))
        for p in layer.parameters(recurse=False)
    }
    held: dict[int, Any] = {id(b): b.to(device, copy=True) for b in network.buffers()}
    for p in network.parameters():
        held[id(p)] = nn.Parameter(
            p.to(device, dtype if id(p) in cast else None, copy=True), requires_grad=False
        )
    return deepcopy(network, held)


@contextmanager
def lent(networks: Iterable[nn.Module], device: torch.device) -> Iterator[None]:
    """Have networks on a device inside, and where they were afterwards."""
    homes = [(network, next(network.parameters()).device) for network in networks]
    try:
        for network, home in homes:
            if home != device:
                network.to(device)
        yield
    finally:
        for network, home in homes:
            if home != device:
                network.to(home)


def refuse_float16(dtype: torch.dtype) -> None:
    """Refuse arithmetic in which gradients of a protection or a training vanish.

    Raises:
        UserError: the dtype is float16.

    >>> refuse_float16(torch.bfloat16)
    """
    if dtype == torch.float16:
        raise UserError(
            "float16 is too coarse for gradients: small ones become 0. "
            "Where gradients are taken, float32 and bfloat16 are allowed."
        )


def free_memory(device: torch.device) -> int:
    """Return how many more bytes a device can hold; blocks that torch keeps unused are free."""
    if device.type == "meta":
        return sys.maxsize  # holds shapes alone
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    free = min(psutil.virtual_memory().available, _left_of_limit())
    if device.type == "mps":  # takes of the same memory, and not all of it
        free = min(free, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return free


def _left_of_limit() -> int:
    """Return how many bytes a container or a cluster's job may still take (Linux, cgroup v2).

    A process that goes beyond is killed, however much memory the machine has. Limits of the groups
    around its own hold too.
    """
    try:
        own = Path(OWN_CGROUP.read_text().rpartition("::")[2].strip("/\n"))
    except OSError:
        return sys.maxsize
    return min(_left_in_group(CGROUPS / group) for group in (own, *own.parents))


def _left_in_group(folder: Path) -> int:
    """Return how much of a group's memory is left; any number where it has no limit."""
    try:
        limit, taken = ((folder / f"memory.{file}").read_text() for file in ("max", "current"))
        return int(limit) - int(taken)
    except (OSError, ValueError):  # no such files, or "max"
        return sys.maxsize
