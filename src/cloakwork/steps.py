"""Steps by content: protect, purify, mix, attack, score. What was once computed is not computed again.

A step's key is the hash of all that decides its result: its method, VERSION and config, its seed, the keys of what goes in
and the weights of the models it asks. A result is a file in the store, named by that key (see store.py): a killed step leaves
nothing, processes may share the work, and a second protection's audit finds the thieves of clean photos and of noise there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from cloakwork import measure, registry
from cloakwork.files import drop, hash_of, save_json, save_tensors
from cloakwork.models import loading, pixel_ddpm
from cloakwork.models.device import DTYPES, pick_device
from cloakwork.models.ldm import LDM
from cloakwork.models.pixel_ddpm import PixelDDPM
from cloakwork.perturbation import targets
from cloakwork.photos.budget import WORK_SIDE, apply_perturbation
from cloakwork.photos.tensors import as_float
from cloakwork.sources import Source
from cloakwork.state import Progress, State
from cloakwork.store import Store, open_store
from cloakwork.types import Images, Photos

Kind = Literal["protect", "purify", "mix", "attack", "score"]
POLL = 0.5  # seconds between two looks whether somebody else has finished a step
FOLDERS = {"protect": "protections", "purify": "purifiers", "attack": "attackers", "score": "metrics"}


@dataclass(frozen=True)
class Mix:
    """Config of the step "mix": what the thief could get hold of."""

    share: float
    """of the photos that are clean, rounded to whole photos; the first ones are taken from the clean set"""


@dataclass(frozen=True)
class Step:
    """One computation.

    Attributes:
        kind, name: which method; a mix has no method of its own.
        config: the method's Config.
        inputs: what it is done to, first; then the clean photos that it may look at (protect: set A, mix, score: references).
        models: surrogates, or the victim, by name.
        prompts: what a thief asks for; for a score, what its pictures were asked for, in equal shares.
        dtype: what the models' arithmetic is autocast to.
    """

    kind: Kind
    name: str
    config: Any
    inputs: tuple[Step | Source, ...]
    seed: int = 0
    models: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    dtype: str = "float32"

    @property
    def rests_on(self) -> tuple[Step, ...]:
        """The steps whose results go in."""
        return tuple(i for i in self.inputs if isinstance(i, Step))

    @property
    def place(self) -> int:
        """How many purifiers have been at the photos before this one."""
        first = self.inputs[0]
        return first.place + 1 if isinstance(first, Step) and first.kind == "purify" else 0

    @property
    def denoises_pixels(self) -> bool:
        """Whether its model is a PixelDDPM, not an LDM."""
        return self.kind == "purify" and registry.asks(self.name) == "pixels"


def purified(
    photos: Source | Step,
    purifiers: Iterable[tuple[str, Any]],
    *,
    model: str,
    denoiser: str = "tiny",
    seed: int = 0,
    dtype: str = "float32",
) -> Source | Step:
    """Photos after purifiers (names and Configs) in order, each with the model of the kind that it needs, if any."""
    for name, config in purifiers:
        photos = Step("purify", name, config, (photos,), seed, registry.asked(name, model, denoiser), dtype=dtype)
    return photos


@dataclass
class Bench:
    """Where steps run: the store of results (a folder or an fsspec URL), the models kept warm, the device."""

    store: Path | str
    device: str = "auto"
    progress: Progress | None = None
    _keys: dict[int, tuple[Step | Source, str]] = field(default_factory=dict, repr=False)
    _models: dict[tuple[str, str], LDM] = field(default_factory=dict, repr=False)
    _denoisers: dict[tuple[str, str], PixelDDPM] = field(default_factory=dict, repr=False)

    def model(self, name: str, dtype: str = "float32") -> LDM:
        """A model by name, loaded once."""
        if (name, dtype) not in self._models:
            self._models[name, dtype] = loading.load(name, self.device, dtype)
        return self._models[name, dtype]

    def denoiser(self, name: str, dtype: str = "float32") -> PixelDDPM:
        """A denoiser of pixels by name, loaded once."""
        if (name, dtype) not in self._denoisers:
            self._denoisers[name, dtype] = pixel_ddpm.load(name, self.device, dtype)
        return self._denoisers[name, dtype]

    def models(self, step: Step) -> list[Any]:
        """Those that a step asks, of the kind that it needs."""
        return [(self.denoiser if step.denoises_pixels else self.model)(name, step.dtype) for name in step.models]

    def weights(self, step: Step) -> list[tuple[str, str]]:
        """Hashes of the weights of the models that a step asks, and their dtype; nothing is loaded for it."""
        of = pixel_ddpm.weights if step.denoises_pixels else loading.weights
        return [(of(name), str(DTYPES[step.dtype])) for name in step.models]

    @cached_property
    def results(self) -> Store:
        return open_store(self.store)

    @cached_property
    def torch_device(self) -> torch.device:
        return pick_device(self.device)


def key(step: Step | Source, bench: Bench) -> str:
    """sha256, hex, over everything that decides the step's result."""
    if id(step) not in bench._keys:  # by identity, since a Config of somebody's may hold what cannot be hashed
        parts = step.parts() if isinstance(step, Source) else _parts(step, bench)
        bench._keys[id(step)] = step, hash_of(parts)
    return bench._keys[id(step)][1]


def _parts(step: Step, bench: Bench) -> dict[str, Any]:
    module = registry.load(FOLDERS[step.kind], step.name) if step.kind in FOLDERS else None
    asked = measure.instrument(step.name, step.config) if step.kind == "score" else registry.instrument(module, step.config)
    return {
        "step": [step.kind, step.name, getattr(module, "VERSION", 1), registry.settings(step.config), step.seed, step.prompts],
        "inputs": [key(i, bench) for i in step.inputs],
        "weights": bench.weights(step),
        "instrument": asked,
        **({"place": step.place} if step.kind == "purify" else {}),  # decides what it draws
        **({"target": target} if (target := targets.digest(step.config)) else {}),  # a file may change under its name
        "where": [bench.torch_device.type, torch.__version__, torch.get_num_threads(), WORK_SIDE],
    }


def name_of(step: Step, bench: Bench) -> str:
    """What the store calls the step's result."""
    return f"{step.kind}/{key(step, bench)[:32]}.{'json' if step.kind == 'score' else 'safetensors'}"


def cached(step: Step, bench: Bench) -> bool:
    """Whether the result is there already."""
    return bench.results.has(name_of(step, bench))


def graph(targets: Iterable[Step], bench: Bench, *, missing: bool = False) -> dict[str, Step]:
    """Targets and all that they rest on: name -> step, each once, what a step rests on before it.

    With `missing` only what has to be made for the targets' sake: what a result rests on is not needed once it is there.
    """
    found: dict[str, Step] = {}

    def visit(step: Step) -> None:
        name = name_of(step, bench)
        if name in found or (missing and bench.results.has(name)):
            return
        for before in step.rests_on:
            visit(before)
        found[name] = step

    for target in targets:
        visit(target)
    return found


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


def score(step: Step, bench: Bench) -> measure.Measurement:
    """One metric of a thief's pictures, or of photos, against the references."""
    kept = json.loads(make(step, bench).read_text())
    return measure.Measurement(**kept | {"values": [float(v) for v in kept["values"]]})


def steal(step: Step, bench: Bench, state: State, masks: list[Tensor] | None = None) -> Images:
    """Runs an attack whether its result is known or not, with a state of the caller's and masks of the photos' own sizes."""
    loot = [p.to(bench.torch_device) for p in photos(step.inputs[0], bench)]
    if masks:  # photos above a limit come as smaller working copies
        masks = [F.interpolate(m[None], p.shape[-2:])[0].to(p) for m, p in zip(masks, loot, strict=True)]
    module, victim = registry.load("attackers", step.name), bench.model(step.models[0], step.dtype)
    how = {"masks": masks, "rng": generator(step, bench), "state": state}
    return module.attack(loot, victim, step.config, list(step.prompts), **how)


def _measure(step: Step, bench: Bench) -> measure.Measurement:
    shown = [pictures(i, bench) if isinstance(i, Step) and i.kind == "attack" else photos(i, bench) for i in step.inputs]
    asked = [p for p in step.prompts for _ in range(len(shown[0]) // len(step.prompts))]
    return measure.measure(step.name, shown[0], list(shown[1]) if shown[1:] else None, asked or None, step.config)


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
