"""A thief's training, looked at along the way: what its pictures score after every so many
steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from cloakwork import registry
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.intervals import Estimate, estimate
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.files import hash_of, read_json, remove, write_json
from cloakwork.metrics._measure import measure, metric_instrument
from cloakwork.state import RunState

TrainingCurve = dict[
    int, dict[str, list[float]]
]  # training steps -> metric -> one score a picture (NaN: unscored)


def measure_curve(
    attack: Step, subject: Subject, every: int, metrics: Sequence[str], workspace: Workspace
) -> TrainingCurve:
    """Scores of a few pictures a prompt (`personalize.PREVIEW`) after every `every` steps of a
    trainer's attack.

    All looks draw from the same noise. What is found is kept in the store at once: a training that
    was stopped goes on, and one that is done is not done again.

    Args:
        attack: of a trainer.
        subject: whose clean photos pictures are compared with.
        every: training steps between two looks, at least 1.
        metrics: names of metrics that score pictures.
        workspace: where it runs.
    """
    decided = hash_of([steps.key(attack, workspace), steps.key(subject.references, workspace)])
    path = workspace.results.folder / "course" / f"{decided[:32]}-{every}.json"
    exact = {
        m: f"{m} {registry.load('metrics', m).VERSION} {metric_instrument(m)}" for m in metrics
    }  # what is kept under it
    looks = range(every, attack.config.steps + 1, every)
    kept = _read(path)
    if not all(name in kept.get(k, {}) for k in looks for name in exact.values()):
        references, checkpoint = (
            compute.photos(subject.references, workspace),
            path.with_suffix(".part.safetensors"),
        )

        def look(done: int, pictures: Tensor) -> None:
            prompts = [
                p for p in attack.prompts for _ in range(len(pictures) // len(attack.prompts))
            ]
            found = {
                name: measure(m, pictures, references, prompts).values for m, name in exact.items()
            }
            kept[done] = kept.get(done, {}) | found
            write_json(path, {"looks": {str(k): found for k, found in kept.items()}})

        compute.run_attack(
            attack,
            workspace,
            RunState(checkpoint, subject.name, workspace.progress, sample_every=every, watch=look),
        )
        remove(checkpoint)
    return {k: {m: kept[k][name] for m, name in exact.items()} for k in looks}


def _read(path: Path) -> TrainingCurve:
    looks = read_json(path).get("looks", {})
    return {
        int(k): {m: [math.nan if v is None else v for v in vs] for m, vs in at.items()}
        for k, at in looks.items()
    }


def estimates(courses: dict[str, TrainingCurve], metric: str) -> dict[int, Estimate]:
    """Training steps -> the mean of a metric over photo sets; `courses` has one for each set."""
    looks = next(iter(courses.values()))
    return {k: estimate({name: {0: at[k][metric]} for name, at in courses.items()}) for k in looks}


def unscored(courses: Mapping[str, Mapping[int, Estimate]]) -> bool:
    """Whether a metric could score none of the pictures: thief -> training steps -> mean."""
    return all(math.isnan(mean.mean) for course in courses.values() for mean in course.values())
