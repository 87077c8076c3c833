"""Where steps run: on a Ray cluster, of this machine's cores or of many machines.

Every step is a Ray task to which only the step's name travels. The graph lies in Ray's object
store, cut into parts, and results in the store of results, which all machines must reach, as they
must see the photos, under the same paths. Ray starts the task of a lost worker again; the store
sees to it that no result is torn and that others may work on it. `ray_cluster` connects to Ray,
`ray_worker` is the workers' side.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from cloakwork.benchmark.execution import ray_worker, resources
from cloakwork.benchmark.execution.failures import failure_from
from cloakwork.benchmark.execution.ray_cluster import connected
from cloakwork.benchmark.execution.ray_worker import first_line
from cloakwork.benchmark.execution.ready_queue import Queue, TaskResult
from cloakwork.benchmark.execution.resources import Resources
from cloakwork.benchmark.execution.serial import Outcome, StepProgress
from cloakwork.errors import Unwritable, UserError
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.steps import Step, Workspace

RETRIES = 3  # times that Ray starts the task of a lost worker again
BACKLOG = 2  # tasks in flight for each that can run at once: the next waits where the last one ends
PART = 500  # steps of the graph that a worker fetches together
LOOK = 30.0  # seconds between two looks at which machines there are

Work = Callable[[str, list[Any]], TaskResult]


@dataclass
class Parts:
    """The graph in Ray's object store, a part when its first step is due and until its last one is
    done.
    """

    todo: Sequence[tuple[str, Step]]
    put: Callable[[Any], Any]
    circumstances: Any
    _there: dict[int, tuple[Any, set[int]]] = field(default_factory=dict)

    def of(self, number: int) -> list[Any]:
        """Return references for the worker of a step: to the circumstances and to the part that
        the step is in.
        """
        which = number // PART
        if which not in self._there:
            members = range(which * PART, min(which * PART + PART, len(self.todo)))
            self._there[which] = (
                self.put(dict(self.todo[members.start : members.stop])),
                set(members),
            )
        return [self.circumstances, self._there[which][0]]

    def release(self, numbers: Iterable[int]) -> None:
        """Let go of the parts in which these steps were the last ones to do."""
        for number in numbers:
            part = self._there.get(number // PART)
            if part:
                part[1].discard(number)
                if not part[1]:
                    del self._there[number // PART]


def run(
    targets: Iterable[Step],
    workspace: Workspace,
    tell: StepProgress | None = None,
    *,
    address: str | None = None,
    workers: int | None = None,
    retries: int = RETRIES,
) -> Outcome:
    """Make what is missing for the targets on a Ray cluster; bytes and failures are those of
    `serial.serial`.

    Every key holds the driver's type of device and number of threads, so workers take these over;
    one whose torch or cloakwork differs fails its steps and says so.

    Args:
        targets: steps whose results are wanted.
        workspace: store, which every machine must reach, and device.
        tell: called after every step, wherever it ran.
        address: of a cluster that runs already, such as "10.0.0.1:6379", or "auto" for the one of
            this machine; None starts one on this machine for as long as the run takes. In a process
            that is connected to Ray already, that connection is used.
        workers: tasks at once; None: as many as there is room for.
        retries: times that the step of a lost worker is begun again.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached, or no machine of it has
            what a step needs; or a result could not be written.
    """
    if (workers is not None and workers < 1) or retries < 0:
        raise UserError(
            f"There cannot be {workers} workers and {retries} retries; allowed are 1 or more, and "
            "0 or more."
        )
    todo = steps.graph(targets, workspace, missing=True)
    if not todo:
        return Outcome()
    with connected(address, workers):
        return spread(todo, workspace, most=workers, tell=tell, retries=retries)


def spread(
    todo: dict[str, Step],
    workspace: Workspace,
    work: Work | None = None,
    *,
    most: int | None = None,
    tell: StepProgress | None = None,
    retries: int = RETRIES,
) -> Outcome:
    """Work off a graph (see `steps.graph`) on the cluster that this process is connected to.

    Args:
        todo: name -> step, each after those that it rests on.
        workspace: the driver's.
        work: what a worker does with a name and two references; by default `ray_worker.make`.
        most: tasks at once.
        tell, retries: as in `run`.

    Raises:
        UserError: no machine of the cluster has what a step needs, or a result could not be
            written.
    """
    import ray

    asked = resources.resources_for(todo.values(), workspace.torch_device.type, _nodes())
    about = ray_worker.DriverEnvironment(
        workspace.results.url or str(workspace.results.folder),
        os.getcwd(),
        workspace.torch_device.type,
        torch.get_num_threads(),
        workspace.low_memory,
    )
    parts = Parts(list(todo.items()), ray.put, ray.put(about))
    # unless told, Ray would end a process after one task with a GPU, and the models in it
    task = ray.remote(max_calls=0, max_retries=retries)(work or ray_worker.make)
    tasks = {n: task.options(num_cpus=n.cpus, num_gpus=n.gpus, memory=n.memory) for n in set(asked)}
    return _drive(Queue(list(todo), _before(todo, workspace), asked, tell), tasks, parts, most)


def _before(todo: dict[str, Step], workspace: Workspace) -> list[list[int]]:
    """Return, for each step, the numbers of those that it rests on and whose results are
    missing.
    """
    numbers = {name: number for number, name in enumerate(todo)}
    return [
        [numbers[n] for b in step.dependencies if (n := steps.name_of(b, workspace)) in numbers]
        for step in todo.values()
    ]


def _drive(queue: Queue, tasks: dict[Resources, Any], parts: Parts, most: int | None) -> Outcome:
    """Keep as many tasks in flight as there is room for, until nothing is left.

    What is in flight when it raises ends with the connection, or comes to the store later. It is
    not cancelled: Ray's driver may abort over a task that is cancelled as it ends.
    """
    flying: dict[Any, int] = {}
    room, looked = {}, -LOOK
    while queue.left:
        if time.monotonic() - looked > LOOK:  # machines come and go
            nodes, looked = _nodes(), time.monotonic()
            room = {need: BACKLOG * max(1, need.slots(nodes)) for need in tasks}
        for number in queue.start(room, most):
            task = tasks[queue.pools[number]]
            flying[task.remote(queue.names[number], parts.of(number))] = number
        for reference in _landed(flying):
            number = flying.pop(reference)
            parts.release(queue.complete(number, _answer(reference), compute.POLL))
    return queue.outcome


def _landed(flying: dict[Any, int]) -> list[Any]:
    """Wait for the first task to end, but not for long, and return all that have ended."""
    import ray

    if not flying:  # other processes are at all that is left
        time.sleep(compute.POLL)
        return []
    if not ray.wait(list(flying), timeout=compute.POLL)[0]:
        return []
    return ray.wait(list(flying), num_returns=len(flying), timeout=0)[0]


def _answer(reference: Any) -> TaskResult:
    """Return what became of a task that has ended."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, Unwritable):  # nothing that comes after could be kept either
            raise Unwritable(*error.cause.sentences) from None
        return TaskResult(True, error=failure_from(error.cause, first_line(error.cause)))
    except RayError as error:  # the worker was lost once too often, or cannot import this package
        return TaskResult(True, error=failure_from(error, first_line(error)))


def _nodes() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
