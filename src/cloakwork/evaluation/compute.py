"""Steps made: what was once computed is read from the store, else computed and kept."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from cloakwork import registry
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import FOLDERS, Bench, Step, key, name_of
from cloakwork.files import drop, hash_of, save_json, save_tensors
from cloakwork.metrics._measure import Measurement, measure
from cloakwork.photos.budget import apply_perturbation
from cloakwork.photos.tensors import as_float
from cloakwork.state import State
from cloakwork.types import Images, Photos

POLL = 0.5  # seconds between two looks whether somebody else has finished a step


def make(step: Step, bench: Bench) -> Path:
    """The file of a step's result. Where there is none, all that it rests on is made first; what others are at is waited for."""
    while True:
        if found := bench.results.find(name_of(step, bench)):
            return found
        for before in step.rests_on:
            make(before, bench)
        if made := attempt(step, bench):
            return made
        time.sleep(POLL)


def attempt(step: Step, bench: Bench) -> Path | None:
    """The file of a step's result, made here unless somebody else is at it: then None."""
    name = name_of(step, bench)
    with bench.results.claimed(name) as ours:
        return (bench.results.find(name) or _compute(step, bench, name)) if ours else None


def _compute(step: Step, bench: Bench, name: str) -> Path:
    checkpoint = (bench.results.folder / name).with_suffix(".part.safetensors")
    wall, cpu, state = time.monotonic(), time.process_time(), State(checkpoint, step.name, bench.progress)
    if step.kind == "score":
        content = asdict(_measure(step, bench))
        write = partial(save_json, content=content | {"values": [str(v) for v in content["values"]]})  # JSON has no NaN
    else:
        if step.kind == "attack":
            made = {"pictures": steal(step, bench, state)}
        else:
            made = {f"{i:04}": p for i, p in enumerate(_make_photos(step, bench, state))}
        write = partial(save_tensors, tensors={k: x.mul(255).round().byte() for k, x in made.items()})
    taken = {"seconds": round(time.monotonic() - wall, 2), "cpu_seconds": round(time.process_time() - cpu, 2)}
    what = {"kind": step.kind, "name": step.name, "config": registry.settings(step.config), "seed": step.seed}
    what |= {"dead_steps": state.dead_steps} if state.dead_steps else {}
    path = bench.results.keep(name, write, what | taken)
    drop(checkpoint)  # it is larger than a model
    return path


def photos(step: Step | Source, bench: Bench) -> Photos:
    """The photos that a source, a protection, a purifier or a mix gives, each 3 x H x W in [0, 1], of any size."""
    if isinstance(step, Source):
        return step.photos()
    return [as_float(p) for _, p in sorted(load_file(make(step, bench)).items())]


def pictures(step: Step, bench: Bench) -> Images:
    """What a thief gets, n x 3 x S x S in [0, 1]."""
    return load_file(make(step, bench))["pictures"].float() / 255


def score(step: Step, bench: Bench) -> Measurement:
    """One metric of a thief's pictures, or of photos, against the references."""
    kept = json.loads(make(step, bench).read_text())
    return Measurement(**kept | {"values": [float(v) for v in kept["values"]]})


def steal(step: Step, bench: Bench, state: State, masks: list[Tensor] | None = None) -> Images:
    """Runs an attack whether its result is known or not, with a state of the caller's and masks of the photos' own sizes."""
    loot = [p.to(bench.torch_device) for p in photos(step.inputs[0], bench)]
    if masks:  # photos above a limit come as smaller working copies
        masks = [F.interpolate(m[None], p.shape[-2:])[0].to(p) for m, p in zip(masks, loot, strict=True)]
    module, victim = registry.load("attackers", step.name), bench.model(step.models[0], step.dtype)
    how = {"masks": masks, "rng": generator(step, bench), "state": state}
    return module.attack(loot, victim, step.config, list(step.prompts), **how)


def _measure(step: Step, bench: Bench) -> Measurement:
    shown = [pictures(i, bench) if isinstance(i, Step) and i.kind == "attack" else photos(i, bench) for i in step.inputs]
    asked = [p for p in step.prompts for _ in range(len(shown[0]) // len(step.prompts))]
    return measure(step.name, shown[0], list(shown[1]) if shown[1:] else None, asked or None, step.config)


def _make_photos(step: Step, bench: Bench, state: State) -> Photos:
    first, *rest = [photos(i, bench) for i in step.inputs]
    if step.kind == "mix":
        n = round(step.config.share * len(first))
        return rest[0][:n] + first[n:]
    first = [p.to(bench.torch_device) for p in first]
    models = bench.models(step)
    module, rng = registry.load(FOLDERS[step.kind], step.name), generator(step, bench)
    if step.kind == "purify":
        return [p.cpu() for p in module.purify(first, models[0] if models else None, step.config, rng=rng)]
    clean = [p.to(bench.torch_device) for p in rest[0]] if rest else None
    made = module.protect(first, models, step.config, clean=clean, rng=rng, state=state)
    whole = [p.mul(255).round().byte().cpu() for p in first]
    deltas = [(a - b).detach().cpu() for a, b in zip(made, first, strict=True)]
    return [as_float(apply_perturbation(w, delta, step.config.budget)) for w, delta in zip(whole, deltas, strict=True)]


def generator(step: Step, bench: Bench) -> torch.Generator:
    """What a step draws from: a protection by seed and photos, others by their seed alone.

    So clean, noisy and protected photos meet the same draws of a purifier, and of a thief: batches, noise, sampling.
    """
    photos = [step.seed, [key(i, bench) for i in step.inputs]]
    parts = {"attack": ["attack", step.seed], "purify": ["purify", step.seed, step.place]}.get(step.kind, photos)
    return torch.Generator().manual_seed(int(hash_of(parts)[:15], 16))
