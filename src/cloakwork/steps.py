"""Steps by content: protect, purify, mix, attack, score. What was once computed is not computed again.

A step's key is the hash of all that decides its result: its method, VERSION and config, its seed, the keys of what goes in
and the weights of the models it asks. A result is a file named by that key and appears by a rename, so a step that was
killed leaves nothing, and the audit of a second protection finds the thieves of clean photos and of noise already there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from cloakwork import ddpm, images, loading, measure, methods
from cloakwork.ddpm import PixelDDPM
from cloakwork.ldm import LDM
from cloakwork.plan import hash_of
from cloakwork.records import write_json
from cloakwork.state import Progress, State, write_tensors
from cloakwork.types import Images, Photos
from cloakwork.worksize import WORK_SIDE, finish, work_copy

Kind = Literal["protect", "purify", "mix", "attack", "score"]
FOLDERS = {"protect": "protections", "purify": "purifiers", "attack": "attackers", "score": "metrics"}


@dataclass(frozen=True)
class Source:
    """Photos on the disk: where a graph of steps begins.

    Attributes:
        files: in the order in which they pair up with those of other sources.
        digests: sha256 of each photo's pixels.
    """

    files: tuple[Path, ...]
    digests: tuple[str, ...]


def source(files: Iterable[Path]) -> Source:
    """Files as a source, in the order of their contents, so that names do not matter."""
    digests, sorted_files = zip(*sorted((images.load(f).digest, f) for f in files), strict=True)
    return Source(sorted_files, digests)


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
        needed = {"latent": (model,), "pixels": (denoiser,)}.get(uses(name), ())
        photos = Step("purify", name, config, (photos,), seed, needed, dtype=dtype)
    return photos


def uses(purifier: str) -> str:
    """The kind of model that a purifier needs: "latent" (an LDM), "pixels" (a PixelDDPM) or "" (none)."""
    return getattr(methods.load("purifiers", purifier), "USES_MODEL", "")


@dataclass
class Bench:
    """Where steps run: the store of results, the models kept warm, the device."""

    store: Path
    device: str = "auto"
    progress: Progress | None = None
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
            self._denoisers[name, dtype] = ddpm.load(name, self.device, dtype)
        return self._denoisers[name, dtype]

    def models(self, step: Step) -> list[Any]:
        """Those that a step asks, of the kind that it needs."""
        get = self.denoiser if step.kind == "purify" and uses(step.name) == "pixels" else self.model
        return [get(name, step.dtype) for name in step.models]

    @cached_property
    def torch_device(self) -> torch.device:
        return loading.pick_device(self.device)


def key(step: Step | Source, bench: Bench) -> str:
    """sha256, hex, over everything that decides the step's result."""
    if isinstance(step, Source):
        return hash_of(["photos", step.digests])
    module = None if step.kind == "mix" else methods.load(FOLDERS[step.kind], step.name)
    models = bench.models(step)
    return hash_of({
        "step": [step.kind, step.name, getattr(module, "VERSION", 1), methods.settings(step.config), step.seed, step.prompts],
        "inputs": [key(i, bench) for i in step.inputs],
        "weights": [(m.weights, str(m.dtype)) for m in models],
        "instrument": _instrument(step, module),
        "where": [bench.torch_device.type, torch.__version__, torch.get_num_threads(), WORK_SIDE],
    })  # fmt: skip


def _instrument(step: Step, module: Any) -> str:
    """The network beside the models that a step asks: what a metric measures with, a protection's denoiser."""
    if step.kind == "score":
        return measure.instrument(step.name, step.config)
    return module.instrument(step.config) if hasattr(module, "instrument") else ""


def where(step: Step, bench: Bench) -> Path:
    """The file that holds, or will hold, the step's result."""
    return bench.store / step.kind / f"{key(step, bench)[:32]}.{'json' if step.kind == 'score' else 'safetensors'}"


def cached(step: Step, bench: Bench) -> bool:
    """Whether the result is there already."""
    return where(step, bench).is_file()


def photos(step: Step | Source, bench: Bench) -> Photos:
    """The photos that a source, a protection, a purifier or a mix gives, each 3 x H x W in [0, 1], of any size."""
    if isinstance(step, Source):
        return [work_copy(images.load(f).pixels) for f in step.files]
    path = where(step, bench)
    if not path.is_file():
        made = [p.mul(255).round().byte() for p in _make_photos(step, bench, path)]
        _finish(path, {f"{i:04}": p for i, p in enumerate(made)})
    return [images.unit(p) for _, p in sorted(load_file(path).items())]


def pictures(step: Step, bench: Bench) -> Images:
    """What a thief gets, n x 3 x S x S in [0, 1]."""
    path = where(step, bench)
    if not path.is_file():
        _finish(path, {"pictures": steal(step, bench, _state(step, bench, path)).mul(255).round().byte()})
    return load_file(path)["pictures"].float() / 255


def steal(step: Step, bench: Bench, state: State, masks: list[Tensor] | None = None) -> Images:
    """Runs an attack whether its result is known or not, with a state of the caller's and masks of the photos' own sizes."""
    loot = [p.to(bench.torch_device) for p in photos(step.inputs[0], bench)]
    if masks:  # photos above a limit come as smaller working copies
        masks = [F.interpolate(m[None], p.shape[-2:])[0].to(p) for m, p in zip(masks, loot, strict=True)]
    # not from the photos: a thief of clean and one of protected photos draw the same batches and the same sampling noise
    rng = _rng(["attack", step.seed])
    module, victim = methods.load("attackers", step.name), bench.model(step.models[0], step.dtype)
    return module.attack(loot, victim, step.config, list(step.prompts), masks=masks, rng=rng, state=state)


def score(step: Step, bench: Bench) -> measure.Measurement:
    """One metric of a thief's pictures, or of photos, against the references."""
    path = where(step, bench)
    if not path.is_file():
        what, *references = step.inputs
        seen = pictures(what, bench) if isinstance(what, Step) and what.kind == "attack" else photos(what, bench)
        against = photos(references[0], bench) if references else None
        share = len(seen) // max(1, len(step.prompts))
        found = measure.measure(step.name, seen, against, [p for p in step.prompts for _ in range(share)] or None, step.config)
        write_json(path, asdict(found) | {"values": [str(v) for v in found.values]})  # JSON has neither NaN nor infinity
    kept = json.loads(path.read_text())
    return measure.Measurement(**kept | {"values": [float(v) for v in kept["values"]]})


def _make_photos(step: Step, bench: Bench, path: Path) -> Photos:
    first, *rest = [photos(i, bench) for i in step.inputs]
    if step.kind == "mix":
        n = round(step.config.share * len(first))
        return rest[0][:n] + first[n:]
    first = [p.to(bench.torch_device) for p in first]
    models = bench.models(step)
    rng = _rng([step.seed, [key(i, bench) for i in step.inputs]])
    module = methods.load(FOLDERS[step.kind], step.name)
    if step.kind == "purify":
        return [p.cpu() for p in module.purify(first, models[0] if models else None, step.config, rng=rng)]
    clean = [p.to(bench.torch_device) for p in rest[0]] if rest else None
    made = module.protect(first, models, step.config, clean=clean, rng=rng, state=_state(step, bench, path))
    whole = [p.mul(255).round().byte().cpu() for p in first]
    saved = [finish(w, (a - b).detach().cpu(), step.config.budget) for w, a, b in zip(whole, made, first, strict=True)]
    return [images.unit(p) for p in saved]


def _finish(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes a result and drops its checkpoint, which is larger than a model."""
    write_tensors(path, tensors)
    _checkpoint(path).unlink(missing_ok=True)


def _checkpoint(path: Path) -> Path:
    return path.with_suffix(".part.safetensors")


def _state(step: Step, bench: Bench, path: Path) -> State:
    return State(_checkpoint(path), step.name, bench.progress)


def _rng(parts: list) -> torch.Generator:
    return torch.Generator().manual_seed(int(hash_of(parts)[:15], 16))
