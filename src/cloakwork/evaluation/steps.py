"""Steps by content: protect, purify, mix, attack, score. What was once computed is not computed
again.

A step's key is the hash of all that decides its result: its method, VERSION and config (of a user's
own module the source as well), its seed, the keys of what goes in and the weights of the models it
asks. A result is a file in the store, named by that key (see store.py): a killed step leaves
nothing, processes may share the work, and a second protection's audit finds the attackers of clean
photos and of noise there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import torch

from cloakwork import registry
from cloakwork.environment import computed_on
from cloakwork.evaluation.run import KEPT_GREY
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.store import Store, open_store
from cloakwork.files import hash_of
from cloakwork.metrics._measure import metric_instrument
from cloakwork.models import autoencoders, loading, pipelines, pixel_ddpm
from cloakwork.models.autoencoders import Autoencoder
from cloakwork.models.device import DTYPES, pick_device
from cloakwork.models.ldm import LDM
from cloakwork.models.pixel_ddpm import PixelDDPM
from cloakwork.perturbation import targets
from cloakwork.photos.rounding import WORK_SIDE
from cloakwork.registry import surrogate_needs
from cloakwork.specs import Method
from cloakwork.state import Progress

Kind = Literal["protect", "purify", "mix", "attack", "score"]


@dataclass(frozen=True)
class Mix:
    """The photos that an attacker could get hold of: some clean ones, the others protected."""

    share: float
    """of the photos that are clean, rounded to whole photos; the first ones are taken from the
    clean set"""


@dataclass(frozen=True)
class Step:
    """One computation.

    Attributes:
        method: what is run; a mix has no method of its own.
        inputs: what it is done to, first; then the clean photos that it may look at (protect: set
            A, mix, score: references).
        seed: of what it draws.
        models: surrogates, or the victim, by name.
        prompts: what an attacker asks for; for a score, what its pictures were asked for, in equal
            shares.
        dtype: what the models' arithmetic is autocast to.
    """

    method: Method | Mix
    inputs: tuple[Step | Source, ...]
    seed: int = 0
    models: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    dtype: str = "float32"

    @property
    def kind(self) -> Kind:
        """What is done: the name of the method's function, or "mix"."""
        if isinstance(self.method, Mix):
            return "mix"
        return cast(Kind, registry.FUNCTIONS[self.method.kind])

    @property
    def name(self) -> str:
        """The method's name, or "mix"."""
        return "mix" if isinstance(self.method, Mix) else self.method.name

    @property
    def config(self) -> Any:
        """The method's Config; a mix is its own."""
        return self.method if isinstance(self.method, Mix) else self.method.config

    @property
    def dependencies(self) -> tuple[Step, ...]:
        """The steps whose results go in."""
        return tuple(i for i in self.inputs if isinstance(i, Step))

    @property
    def purifiers_before(self) -> int:
        """How many purifiers have been at the photos before this one."""
        first = self.inputs[0]
        if isinstance(first, Step) and first.kind == "purify":
            return first.purifiers_before + 1
        return 0

    @property
    def grey(self) -> bool:
        """Whether what goes in began with a photo set of which one is grey."""
        return self.inputs[0].grey

    @property
    def uses_pixel_ddpm(self) -> bool:
        """Whether its model is a PixelDDPM, not an LDM."""
        return isinstance(self.method, Method) and self.method.model_kind == "pixels"


def encoders_of(step: Step) -> list[str]:
    """Return those of a protection's surrogates that are encoders alone."""
    if step.kind != "protect":
        return []
    return [name for name in step.models if autoencoders.is_alone(name)]


def purify_steps(
    photos: Source | Step,
    purifiers: Iterable[Method],
    *,
    model: str,
    denoiser: str = "tiny",
    seed: int = 0,
    dtype: str = "float32",
) -> Source | Step:
    """Return the photos after purifiers in order, each with the model that it asks for, if any."""
    for method in purifiers:
        models = registry.model_names(method.name, model, denoiser)
        photos = Step(method, (photos,), seed, models, dtype=dtype)
    return photos


@dataclass
class Workspace:
    """Where steps run.

    Attributes:
        store: of results, a folder or an fsspec URL.
        device: "cpu", "cuda", ..., or "auto".
        progress: shows how far a step has come, if anybody wants to see it.
        finished: told of the name of every result that is there now.
        low_memory: of its models (see `LDM`); no result differs, so it is in no key.
    """

    store: Path | str
    device: str = "auto"
    progress: Progress | None = None
    finished: Callable[[str], None] | None = None
    low_memory: bool = False
    _keys: dict[int, tuple[Step | Source, str]] = field(default_factory=dict, repr=False)
    _models: dict[tuple[str, str], LDM] = field(default_factory=dict, repr=False)
    _encoders: dict[tuple[str, str], Autoencoder] = field(default_factory=dict, repr=False)
    _denoisers: dict[tuple[str, str], PixelDDPM] = field(default_factory=dict, repr=False)

    def model(self, name: str, dtype: str = "float32") -> LDM:
        """Return a latent diffusion model by name, loaded once."""
        if (name, dtype) not in self._models:
            self._models[name, dtype] = loading.load(
                name, self.device, dtype, low_memory=self.low_memory
            )
        return self._models[name, dtype]

    def encoder(self, name: str, dtype: str = "float32") -> Autoencoder:
        """Return an encoder alone by name, loaded once."""
        if (name, dtype) not in self._encoders:
            self._encoders[name, dtype] = autoencoders.load(name, self.device, dtype)
        return self._encoders[name, dtype]

    def denoiser(self, name: str, dtype: str = "float32") -> PixelDDPM:
        """Return a denoiser of pixels by name, loaded once."""
        if (name, dtype) not in self._denoisers:
            self._denoisers[name, dtype] = pixel_ddpm.load(name, self.device, dtype)
        return self._denoisers[name, dtype]

    def models_of(self, step: Step) -> list[Any]:
        """Return the models that a step asks, of the kind that it needs (LDM or PixelDDPM).

        Surrogates may be encoders alone.

        Raises:
            UserError: a protection needs a whole model, and is given an encoder.
        """
        load = self.denoiser if step.uses_pixel_ddpm else self.model
        alone, method = encoders_of(step), step.method
        if alone and isinstance(method, Method) and method.needs == "model":
            raise surrogate_needs.encoder_refused(method.name, alone)
        return [(self.encoder if name in alone else load)(name, step.dtype) for name in step.models]

    def weight_hashes(self, step: Step) -> list[tuple[str, str]]:
        """Return the hash of the weights and the dtype of each model of a step.

        None is loaded but encoders alone, whose sizes count too.
        """
        weights_hash = pixel_ddpm.weights if step.uses_pixel_ddpm else pipelines.weights
        dtype, alone = str(DTYPES[step.dtype]), encoders_of(step)
        return [
            ((autoencoders.identity if name in alone else weights_hash)(name), dtype)
            for name in step.models
        ]

    @cached_property
    def results(self) -> Store:
        """The store, opened on first use."""
        return open_store(self.store)

    @cached_property
    def torch_device(self) -> torch.device:
        """The device that "auto" stands for, or the one that is named."""
        return pick_device(self.device)


def key(step: Step | Source, workspace: Workspace) -> str:
    """Return the sha256, hex, over everything that decides the step's result."""
    # by identity, since a Config of somebody's may hold what cannot be hashed
    if id(step) not in workspace._keys:
        computed = step.key if isinstance(step, Source) else hash_of(_key_parts(step, workspace))
        workspace._keys[id(step)] = step, computed
    return workspace._keys[id(step)][1]


def _key_parts(step: Step, workspace: Workspace) -> dict[str, Any]:
    """Return what decides a step's result, as data for a hash."""
    method = step.method
    if isinstance(method, Mix):
        version, networks = 1, ""
    else:
        score = method.kind == "metrics"
        version = method.code
        networks = metric_instrument(method.name, method.config) if score else method.networks
    decided = [step.kind, step.name, version, registry.settings(step.config)]
    parts = {
        "step": [*decided, step.seed, step.prompts],
        "inputs": [key(i, workspace) for i in step.inputs],
        "weights": workspace.weight_hashes(step),
        "instrument": networks,
    }
    if step.kind == "purify":
        parts["place"] = step.purifiers_before  # decides what it draws
    if step.kind == "protect" and step.grey:
        parts["grey"] = KEPT_GREY
    if target := targets.digest(step.config):
        parts["target"] = target  # a file may change under its name
    parts["where"] = [*computed_on(workspace.torch_device), WORK_SIDE]
    return parts


def name_of(step: Step, workspace: Workspace) -> str:
    """Return what the store calls the step's result, such as "attack/1f0c....safetensors"."""
    ending = "json" if step.kind == "score" else "safetensors"
    return f"{step.kind}/{key(step, workspace)[:32]}.{ending}"


def cached(step: Step, workspace: Workspace) -> bool:
    """Return whether the result is in the store, without a look inside."""
    return workspace.results.has(name_of(step, workspace))


def graph(
    targets: Iterable[Step], workspace: Workspace, *, missing: bool = False
) -> dict[str, Step]:
    """Collect targets and all that they rest on.

    Args:
        targets: the steps that are wanted.
        workspace: where they run.
        missing: only what has to be made for the targets' sake; what a result rests on is not
            needed once the result is in the store.

    Returns:
        name -> step, each once; what a step rests on comes before it.
    """
    steps_by_name: dict[str, Step] = {}

    def visit(step: Step) -> None:
        name = name_of(step, workspace)
        if name in steps_by_name or (missing and workspace.results.has(name)):
            return
        for before in step.dependencies:
            visit(before)
        steps_by_name[name] = step

    for target in targets:
        visit(target)
    return steps_by_name
