"""What a step's task asks of a machine of a cluster: processors, a GPU, memory.

A method's module may say `GPUS` (a number or a share) and `MEMORY_GB`; where it says nothing, its
kind decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from cloakwork.errors import UserError
from cloakwork.evaluation.steps import Step
from cloakwork.registry import EMBEDDED
from cloakwork.specs import Method

GPU_SHARE = 0.1  # of one, for steps that ask no model: their tensors are on it all the same
# of a task, where its method's module says nothing: with embedded models, and how many times as
# much with others
MEMORY_GB = {"protect": 2.0, "purify": 1.5, "mix": 1.0, "attack": 2.0, "score": 1.5}
LARGER = 4


@dataclass(frozen=True)
class Resources:
    """What a task asks of a machine; memory is in bytes, decides where the task is placed, and is
    not enforced.
    """

    cpus: int
    gpus: float
    memory: int

    def slots(self, nodes: Iterable[dict[str, float]]) -> int:
        """Return how many such tasks machines with these resources could run at once.

        >>> Resources(cpus=2, gpus=0, memory=0).slots([{"CPU": 5.0}, {"CPU": 1.0}])
        2
        """
        asked = [
            (what, n)
            for what, n in (("CPU", self.cpus), ("GPU", self.gpus), ("memory", self.memory))
            if n
        ]
        return sum(min(int(node.get(what, 0) / n + 1e-9) for what, n in asked) for node in nodes)


def resources_for(
    todo: Iterable[Step], device: str, nodes: list[dict[str, float]]
) -> list[Resources]:
    """Return what the task of each step asks; memory is cut to the largest machine's, since it is a
    guess.

    Args:
        todo: steps.
        device: type of the driver's.
        nodes: resources of the cluster's machines.

    Raises:
        UserError: no machine has what a step needs.
    """
    largest = int(max((node.get("memory", 0) for node in nodes), default=0))
    known: dict[tuple[str, str, bool, bool], Resources] = {}
    needs = []
    for step in todo:
        group = step.kind, step.name, bool(step.models), set(step.models) <= set(EMBEDDED)
        if group not in known:
            known[group] = of_one(step, device, largest)
        needs.append(known[group])
    for need in known.values():
        if not need.slots(nodes):
            asked = f"{need.cpus} processor{'s' * (need.cpus > 1)}"
            asked += f" and {need.gpus:g} GPU" if need.gpus else ""
            raise UserError(
                f"A step needs {asked} on one machine, and no machine of the cluster has them; set "
                "fewer threads (OMP_NUM_THREADS) or another device, or add a machine."
            )
    return needs


def of_one(step: Step, device: str, largest: int) -> Resources:
    """Return what one step's task asks, of machines with at most so many bytes."""
    module = step.method.module if isinstance(step.method, Method) else None
    factor = 1 if set(step.models) <= set(EMBEDDED) else LARGER
    memory = getattr(module, "MEMORY_GB", MEMORY_GB[step.kind] * factor)
    gpus = (
        max(getattr(module, "GPUS", 1 if step.models else 0), GPU_SHARE) if device == "cuda" else 0
    )
    return Resources(torch.get_num_threads(), gpus, min(int(memory * 1e9), largest))
