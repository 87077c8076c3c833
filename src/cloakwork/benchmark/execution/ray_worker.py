"""What a worker of a cluster does: makes a step's result, and keeps the graph and the models for
the next step.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from cloakwork._version import __version__
from cloakwork.benchmark.execution import serial
from cloakwork.benchmark.execution.failures import failure_from
from cloakwork.benchmark.execution.ready_queue import TaskResult
from cloakwork.benchmark.execution.serial import Outcome
from cloakwork.errors import Unwritable, UserError
from cloakwork.evaluation import steps
from cloakwork.evaluation.steps import Step, Workspace

KEPT = 4  # parts of the graph that a worker keeps


@dataclass(frozen=True)
class DriverEnvironment:
    """What decides the keys beside the graph, where to begin with relative paths, and what memory
    models may take: all as the driver has it.
    """

    store: str
    folder: str
    device: str
    threads: int
    low_memory: bool


def make(name: str, references: list[Any]) -> TaskResult:
    """Make the result of a step whose inputs are in the store.

    Args:
        name: of the step's result.
        references: to the DriverEnvironment, and to a part of the graph (name -> step) that the
            step is in.
    """
    outcome = Outcome()
    try:
        about = _settled(references[0])
        workspace, graph = _fetched(*references, _device(about.device))
        if steps.name_of(graph[name], workspace) != name:
            versions = f"cloakwork {__version__}, torch {torch.__version__}"
            raise UserError(
                f"The machine {platform.node()} ({versions}) would make another result than the "
                "one that this run was started on; install the same versions, models and code on "
                "both."
            )
        done = serial.run_step(graph[name], name, workspace, outcome)
    except Unwritable:
        raise
    except Exception as error:
        return TaskResult(True, error=failure_from(error, first_line(error)))
    return TaskResult(done, bool(outcome.made), outcome.failed.get(name))


@lru_cache(maxsize=1)
def _settled(reference: Any) -> DriverEnvironment:
    """Make this process resemble the driver, before it reads the graph, in which the user's own
    modules may be named.
    """
    import ray

    about: DriverEnvironment = ray.get(reference)
    # Ray has set a number of its own, and gradients' bytes depend on it
    torch.set_num_threads(about.threads)
    if Path(about.folder).is_dir():
        os.chdir(about.folder)
    if about.folder not in sys.path:
        sys.path.append(about.folder)
    return about


@lru_cache(maxsize=KEPT)
def _fetched(reference: Any, part: Any, device: str) -> tuple[Workspace, dict[str, Step]]:
    """Fetch a part of the graph, and the workspace with its models, whose memory of keys goes with
    the part.
    """
    import ray

    about = _settled(reference)
    shared = _workspace(about.store, device, about.low_memory)
    return replace(shared, _keys={}), ray.get(part)


@lru_cache(maxsize=1)
def _workspace(store: str, device: str, low_memory: bool) -> Workspace:
    _fetched.cache_clear()  # workspaces that hold models on a GPU that is somebody else's now
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return Workspace(store, device, low_memory=low_memory)


def _device(kind: str) -> str:
    """Return the device for this task, of the driver's type: of several GPUs the one that Ray has
    lent.

    Ray hides the others by an environment variable, but a process that lives on may be lent another
    one next time, when it is too late for that; so it sees them all, and picks.
    """
    if kind != "cuda":
        return kind
    import ray

    lent = [str(i) for i in ray.get_gpu_ids()]
    if not lent or not lent[0].isdigit():
        return kind
    if not torch.cuda.is_initialized():
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    return f"cuda:{lent[0]}"


def first_line(error: BaseException) -> str:
    r"""Return what an error says, without what it adds.

    >>> first_line(ValueError("The store is full.\nAt step 3."))
    'The store is full.'
    """
    return str(error).strip().partition("\n")[0]
