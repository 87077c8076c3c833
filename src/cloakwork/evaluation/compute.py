"""Steps made: what was once computed is read from the store, else computed and kept."""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from cloakwork import registry
from cloakwork.errors import UserError
from cloakwork.evaluation.run import (
    add_within,
    attacker_rng,
    protection_rng,
    purifier_rng,
    run_attacker,
    run_protection,
    run_purifier,
)
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Mix, Step, Workspace, key, name_of
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import read_json, remove, save_json
from cloakwork.files.tensors import save_tensors
from cloakwork.metrics._measure import Measurement, measure
from cloakwork.photos.tensors import as_float, to_bytes
from cloakwork.specs import Method
from cloakwork.state import RunState
from cloakwork.types import Images, Photos

POLL = 0.5  # seconds between two looks whether somebody else has finished a step


def make(step: Step, workspace: Workspace) -> Path:
    """Return the file of a step's result, and make it where there is none.

    All that the step rests on is made first. What other processes are making is waited for.
    """
    while True:
        if path := workspace.results.find(name_of(step, workspace)):
            return path
        for before in step.dependencies:
            make(before, workspace)
        if made := attempt(step, workspace):
            return made
        time.sleep(POLL)


def attempt(step: Step, workspace: Workspace) -> Path | None:
    """Return the file of a step's result, made here; None while another process is making it."""
    name = name_of(step, workspace)
    with workspace.results.claimed(name) as ours:
        if not ours:
            return None
        made = workspace.results.find(name) or _compute(step, workspace, name)
    if workspace.finished:
        workspace.finished(name)
    return made


def _compute(step: Step, workspace: Workspace, name: str) -> Path:
    """Compute a step's result and put it into the store, with what it cost."""
    checkpoint = (workspace.results.folder / name).with_suffix(".part.safetensors")
    wall, cpu = time.monotonic(), time.process_time()
    state = RunState(checkpoint, step.name, workspace.progress)
    if step.kind == "score":
        content = asdict(_measure(step, workspace))
        content["values"] = _encode_scores(content["values"])
        write = partial(save_json, content=content)
    else:
        if step.kind == "attack":
            images = {"pictures": run_attack(step, workspace, state)}
        else:
            images = {f"{i:04}": p for i, p in enumerate(_make_photos(step, workspace, state))}
        tensors = {k: to_bytes(x) for k, x in images.items()}
        write = partial(save_tensors, tensors=tensors)
    for note in state.notes:
        warnings.warn(note, stacklevel=2)
    cost = {
        "seconds": round(time.monotonic() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }
    about = {
        "kind": step.kind,
        "name": step.name,
        "config": registry.settings(step.config),
        "seed": step.seed,
    }
    about |= {"dead_steps": state.dead_steps} if state.dead_steps else {}
    path = workspace.results.keep(name, write, about | cost)
    remove(checkpoint)  # it is larger than a model
    return path


def photos(step: Step | Source, workspace: Workspace) -> Photos:
    """Return the photos that a source, a protection, a purifier or a mix gives.

    Returns:
        Each 3 x H x W in [0, 1], of any size.
    """
    if isinstance(step, Source):
        return step.photos()
    path = make(step, workspace)
    tensors = [p for _, p in sorted(load_file(path).items())]
    if not tensors or any(p.dtype != torch.uint8 or p.dim() != 3 or len(p) != 3 for p in tensors):
        raise UserError(_strange(path))
    return [as_float(p) for p in tensors]


def pictures(step: Step, workspace: Workspace) -> Images:
    """Return the pictures of an attacker, n x 3 x S x S in [0, 1]."""
    path = make(step, workspace)
    found = load_file(path).get("pictures")
    if found is None or found.dtype != torch.uint8 or found.dim() != 4:
        raise UserError(_strange(path))
    return found.float() / 255


def score(step: Step, workspace: Workspace) -> Measurement:
    """Return one metric of an attacker's pictures, or of photos, against the references."""
    path = make(step, workspace)
    content = read_json(path)
    try:
        content["values"] = _decode_scores(content["values"])
    except (KeyError, TypeError, ValueError):
        raise UserError(_strange(path)) from None
    if (measured := from_json(Measurement, content)) is None:
        raise UserError(_strange(path))
    return measured


def _strange(path: Path) -> str:
    """Return the sentence on a result without a record that holds something else."""
    return f"{path} holds no result of this version. Take it away, and it is made again."


# JSON has no NaN: scores are kept as texts, an unscored picture's as "nan". The files of training
# curves spell it null (see training_curve.py); stored files keep their spelling.
def _encode_scores(values: list[float]) -> list[str]:
    """Return scores as a score's file has them.

    >>> _encode_scores([0.5, float("nan")])
    ['0.5', 'nan']
    """
    return [str(value) for value in values]


def _decode_scores(values: list[str]) -> list[float]:
    """Return the scores that `_encode_scores` wrote.

    >>> _decode_scores(["0.5", "nan"])
    [0.5, nan]
    """
    return [float(value) for value in values]


def run_attack(
    step: Step, workspace: Workspace, state: RunState, masks: list[Tensor] | None = None
) -> Images:
    """Run an attack whether its result is known or not.

    Args:
        step: of an attacker.
        workspace: where it runs.
        state: of the caller's, with its checkpoint and previews.
        masks: of the photos' own sizes, for attackers that repaint.

    Returns:
        Its pictures, n x 3 x S x S in [0, 1].
    """
    inputs = [p.to(workspace.torch_device) for p in photos(step.inputs[0], workspace)]
    if masks:  # photos above a limit come as smaller working copies
        masks = [
            F.interpolate(m[None], p.shape[-2:])[0].to(p)
            for m, p in zip(masks, inputs, strict=True)
        ]
    assert isinstance(step.method, Method)
    return run_attacker(
        step.method,
        inputs,
        workspace.model(step.models[0], step.dtype),
        step.prompts,
        masks=masks,
        rng=attacker_rng(step.seed),
        state=state,
    )


def _measure(step: Step, workspace: Workspace) -> Measurement:
    """Compute the metric of a score's step."""
    images = [
        pictures(i, workspace)
        if isinstance(i, Step) and i.kind == "attack"
        else photos(i, workspace)
        for i in step.inputs
    ]
    prompts = [p for p in step.prompts for _ in range(len(images[0]) // len(step.prompts))]
    references = list(images[1]) if images[1:] else None
    return measure(step.name, images[0], references, prompts or None, step.config)


def _make_photos(step: Step, workspace: Workspace, state: RunState) -> Photos:
    """Compute the photos of a mix, a purifier or a protection, each 3 x H x W in [0, 1]."""
    method, (first, *rest) = step.method, [photos(i, workspace) for i in step.inputs]
    if isinstance(method, Mix):
        n = round(method.share * len(first))
        return rest[0][:n] + first[n:]
    models = workspace.models_of(step)
    originals = [to_bytes(p) for p in first]
    if step.kind == "purify":
        rng, model = purifier_rng(step.seed, step.purifiers_before), models[0] if models else None
        on_device = [p.to(workspace.torch_device) for p in originals]
        return [as_float(run_purifier(method, p, model, rng)) for p in on_device]
    deltas = run_protection(
        method,
        [p.to(workspace.torch_device) for p in first],
        models,
        clean=[p.to(workspace.torch_device) for p in rest[0]] if rest else None,
        rng=protection_rng(step.seed, [key(i, workspace) for i in step.inputs]),
        state=state,
    )
    pairs = zip(originals, deltas, strict=True)
    return [as_float(add_within(method, photo, delta)) for photo, delta in pairs]
