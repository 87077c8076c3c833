"""Training curves: what an attacker's pictures score after every so many of its training steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.design import Subject, parse_metric
from cloakwork.evaluation.statistics import Estimate, estimate
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import hash_of, read_json, remove, write_json
from cloakwork.metrics._measure import measure, metric_instrument
from cloakwork.state import RunState

# training steps -> metric -> one score a picture (NaN: unscored)
TrainingCurve = dict[int, dict[str, list[float]]]


def measure_curve(
    attack: Step, subject: Subject, every: int, metrics: Sequence[str], workspace: Workspace
) -> TrainingCurve:
    """Score a few pictures a prompt (`training.PREVIEW`) after every so many steps of an attack.

    All previews draw from the same noise. Scores go into the store at once: a training that was
    stopped goes on, and one that is done is not done again.

    Args:
        attack: of an attacker that trains.
        subject: whose clean photos pictures are compared with.
        every: training steps between two previews, at least 1.
        metrics: names of metrics that score pictures.
        workspace: where it runs.
    """
    decided = hash_of([steps.key(attack, workspace), steps.key(subject.references, workspace)])
    path = workspace.results.folder / "course" / f"{decided[:32]}-{every}.json"
    # metric -> what its scores are kept under, so that another version's are not taken for its own
    columns = {m: f"{m} {parse_metric(m).code} {metric_instrument(m)}" for m in metrics}
    previews = range(every, attack.config.steps + 1, every)
    stored, checkpoint = _read(path), path.with_suffix(".part.safetensors")
    if not all(column in stored.get(k, {}) for k in previews for column in columns.values()):
        references = compute.photos(subject.references, workspace)

        def watch(done: int, pictures: Tensor) -> None:
            a_prompt = len(pictures) // len(attack.prompts)
            prompts = [p for p in attack.prompts for _ in range(a_prompt)]
            scores = {
                column: measure(m, pictures, references, prompts).values
                for m, column in columns.items()
            }
            stored[done] = stored.get(done, {}) | scores
            _write(path, stored)

        compute.run_attack(
            attack,
            workspace,
            RunState(checkpoint, subject.name, workspace.progress, sample_every=every, watch=watch),
        )
    remove(checkpoint)
    return {k: {m: stored[k][column] for m, column in columns.items()} for k in previews}


# JSON has no NaN: `write_json` spells an unscored picture null. The files of scores have "nan" (see
# compute.py); stored files keep their spelling.
def _write(path: Path, curve: TrainingCurve) -> None:
    """Write a training curve; NaN becomes null."""
    write_json(path, {"looks": {str(k): scores for k, scores in curve.items()}})


@dataclass(frozen=True)
class _Looks:
    """What a training curve's file holds: training steps -> column -> one score a picture."""

    looks: dict[str, dict[str, list[float | None]]]


def _read(path: Path) -> TrainingCurve:
    """Read a training curve that `_write` wrote.

    Returns:
        An empty one where there is no file, it is damaged, or a score is missing in it.
    """
    found = from_json(_Looks, read_json(path))
    if found is None or not all(k.isdecimal() for k in found.looks):
        return {}
    counts = {len(values) for scores in found.looks.values() for values in scores.values()}
    if len(counts) > 1:
        return {}
    return {
        int(k): {column: _decode_scores(values) for column, values in scores.items()}
        for k, scores in found.looks.items()
    }


def _decode_scores(values: list[float | None]) -> list[float]:
    """Return scores as they were before `write_json` spelt NaN null.

    >>> _decode_scores([0.5, None])
    [0.5, nan]
    """
    return [math.nan if value is None else value for value in values]


def estimates(curves: dict[str, TrainingCurve], metric: str) -> dict[int, Estimate]:
    """Compute the mean of a metric over photo sets, with its interval, after each preview.

    Args:
        curves: photo set -> its training curve.
        metric: one that all curves have.

    Returns:
        training steps -> mean.
    """
    previews = next(iter(curves.values()))
    return {
        k: estimate({name: {0: scores[k][metric]} for name, scores in curves.items()})
        for k in previews
    }


def unscored(curves: Mapping[str, Mapping[int, Estimate]]) -> bool:
    """Return whether a metric could score no picture at all.

    Args:
        curves: attacker -> training steps -> mean.
    """
    return all(math.isnan(mean.mean) for curve in curves.values() for mean in curve.values())
