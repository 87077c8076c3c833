"""Surrogates that learn: copies that may be trained, where they wait, how many steps they take, and
snapshots kept on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor

from cloakwork.files import cache_folder, remove, write_tensors
from cloakwork.finetuning.batches import turn
from cloakwork.finetuning.latent_dataset import LatentDataset, encode_dataset
from cloakwork.finetuning.prior import prior
from cloakwork.finetuning.training import Training, finetune, train_steps
from cloakwork.finetuning.weights import learnable, set_weights
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import pgd
from cloakwork.perturbation.schedule import Turn
from cloakwork.photos.preprocessing import Preprocessing, preprocess
from cloakwork.state import Progress, RunState
from cloakwork.types import Images, Photos

CPU = torch.device("cpu")


@contextmanager
def trainable_copies(surrogates: Sequence[LDM]) -> Iterator[list[LDM]]:
    """Copies of the surrogates that may be trained.

    Where an accelerator has no room for all of them, originals and copies wait in the CPU's memory,
    from where `resident` fetches one at a time; in the end the originals are back where they were.
    """
    places = [ldm.device for ldm in surrogates]
    try:
        for ldm in surrogates if _crowded(surrogates) else ():
            _move(ldm, CPU)
        yield [ldm.copy() for ldm in surrogates]
    finally:
        for ldm, place in zip(surrogates, places, strict=True):
            _move(ldm, place)


@contextmanager
def on_device(ldm: LDM, device: torch.device) -> Iterator[LDM]:
    """Inside, the model is on `device`; afterwards where it was before. Its autoencoder, which
    copies share, goes with it.
    """
    home = ldm.device
    _move(ldm, device)
    try:
        yield ldm
    finally:
        _move(ldm, home)


def _crowded(surrogates: Sequence[LDM]) -> bool:
    """Whether several surrogates, a copy of each, and what training one of them takes would fill
    most of the accelerator.
    """
    if len(surrogates) < 2 or surrogates[0].device.type != "cuda":
        return False
    sizes = [
        sum(p.numel() * p.element_size() for p in learnable(ldm).values()) for ldm in surrogates
    ]
    free, _ = torch.cuda.mem_get_info(surrogates[0].device)
    return (
        sum(sizes) + 4 * max(sizes) > free / 2
    )  # the weights again, gradients, two moments; half is left to activations


def _move(ldm: LDM, device: torch.device) -> None:
    if ldm.device != device:
        ldm.forget_text()
    for part in (ldm.vae, ldm.unet, ldm.text_encoder):
        if next(part.parameters()).device != device:
            part.to(device)


class Snapshot(NamedTuple):
    """One of a pool: a surrogate after some training."""

    theta: LDM
    """the model that its weights are for, which other members share"""
    kind: LatentDataset | None
    """class pictures by the untrained model"""
    snapshot: Path
    """its weights"""


class PromptConfig(Protocol):
    """What a Config says of the words that a surrogate learns."""

    @property
    def class_images(self) -> int: ...
    @property
    def instance_prompt(self) -> str: ...
    @property
    def class_prompt(self) -> str: ...


class PoolConfig(PromptConfig, Protocol):
    """What a Config says of the training that makes the members."""

    @property
    def surrogate_steps(self) -> int: ...
    @property
    def training(self) -> Training: ...


def lessons(
    theta: LDM, pictures: Images, cfg: PromptConfig, how: Training, steps: int, state: RunState
) -> tuple[LatentDataset, LatentDataset | None]:
    """The subject's pictures (n x 3 x S x S) as theta learns them, and its own pictures of the
    class for so many steps.
    """
    with on_device(theta, pictures.device):
        subject = encode_dataset(theta, pictures, cfg.instance_prompt)
        return subject, prior(theta, cfg.class_prompt, cfg.class_images, how, steps, state)


def members(
    theta: LDM, pictures: Images, cfg: PoolConfig, at: Sequence[int], seed: int, state: RunState
) -> list[Snapshot]:
    """theta after each of `at` steps of DreamBooth on pictures (n x 3 x S x S) of the subject."""
    with on_device(theta, pictures.device):
        subject, kind = lessons(
            theta, pictures, cfg, cfg.training, max(cfg.surrogate_steps, 1), state
        )
        paths = snapshots(
            theta, subject, kind, cfg.training, cfg.surrogate_steps, at, seed, state.progress
        )
    return [Snapshot(theta, kind, path) for path in paths]


@dataclass
class Pool:
    """Surrogates at various stages of training, of which only one at a time is in a model."""

    members: list[Snapshot] = field(default_factory=list)
    moved: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """weights of those that have left their snapshot, in the CPU's memory"""

    @contextmanager
    def at(self, m: int, device: torch.device) -> Iterator[LDM]:
        """Inside, the model is member m, on `device`."""
        with on_device(self.members[m].theta, device) as theta:
            set_weights(
                theta, self.moved[m] if m in self.moved else load_file(self.members[m].snapshot)
            )
            yield theta

    def draw(self, call: Turn, rng: torch.Generator) -> list[int]:
        """The members that take part in a turn; one that begins again forgets where it, and all
        others, had got to.
        """
        if call.restart:
            self.moved.clear()
        return (
            torch.randperm(len(self.members), generator=rng)[: call.members].tolist()
            if call.member is None
            else [call.member]
        )

    def study(
        self,
        m: int,
        x: Photos,
        cfg: PoolConfig,
        steps: int,
        k: int,
        seen: Preprocessing,
        rng: torch.Generator,
    ) -> None:
        """The k-th time that the model of member m takes `steps` steps of DreamBooth on photos x.

        They are taken in turn, each loaded anew in the manner of `seen`.
        """
        if not steps:
            return
        theta, kind, _ = self.members[m]
        taken = [x[i] for i in turn(k, steps * cfg.training.batch, len(x))]
        subject = encode_dataset(
            theta, preprocess(taken, theta.size, seen, rng), cfg.instance_prompt
        )
        train_steps(theta, subject, kind, cfg.training, steps, rng, kind_first=k * steps)

    def keep(self, m: int) -> None:
        """Member m is what its model is now."""
        self.moved[m] = _copied(self.members[m].theta)

    def tensors(self, x: Photos) -> dict[str, Tensor]:
        """What a checkpoint needs, photos included."""
        weights = {f"{m} {name}": p for m, named in self.moved.items() for name, p in named.items()}
        return weights | {f"x.{i}": p for i, p in enumerate(x)}

    def resume(self, state: RunState, rng: torch.Generator, photos: Photos) -> tuple[int, Photos]:
        """Takes up the last checkpoint: turns done, and the photos then (at the very beginning:
        `photos`).
        """
        done, saved = state.resume(rng)
        for label, p in saved.items():
            m, _, name = label.partition(" ")
            if name:
                self.moved.setdefault(int(m), {})[name] = p
        return done, [
            saved[f"x.{i}"].to(p.device) for i, p in enumerate(photos)
        ] if saved else photos


def frozen_gradient(theta: LDM, gradient: pgd.Gradient, *, alone: bool) -> pgd.Gradient:
    """A gradient through the model as it is now, whatever becomes of it later; `alone`: nothing
    will before it is used.
    """
    weights = {} if alone else _copied(theta)

    def of(x: Photos, which: list[int]) -> tuple[float, Photos]:
        with on_device(theta, x[0].device):
            set_weights(theta, weights)
            return gradient(x, which)

    return of


def _copied(theta: LDM) -> dict[str, Tensor]:
    return {name: p.to(CPU, copy=True) for name, p in learnable(theta).items()}


def snapshots(
    theta: LDM,
    subject: LatentDataset,
    kind: LatentDataset | None,
    how: Training,
    steps: int,
    at: Sequence[int],
    seed: int,
    progress: Progress | None = None,
) -> list[Path]:
    """Files with theta's learnable weights after each of `at` steps of a DreamBooth training of
    `steps` steps in all.

    They are kept in the cache folder under the hash of all that decides them (pictures, words,
    weights, training, seed), so that they are paid for once. An interrupted training goes on.
    `theta` itself is left somewhere on the way.

    Raises:
        UserError: the loss is not finite.
    """
    folder = cache_folder() / f"pool-{_digest(theta, subject, kind, how, steps, at, seed)[:16]}"
    paths = [folder / f"{step}.safetensors" for step in at]
    if all(path.is_file() for path in paths):
        return paths

    def keep(step: int) -> None:
        if step in at:
            write_tensors(
                folder / f"{step}.safetensors",
                {k: p.cpu() for k, p in learnable(theta).items()},
                shared=True,
            )

    def feed(step: int) -> list[Tensor]:
        keep(step)  # a step's pictures are asked for before its update
        return [subject.latents[i] for i in turn(step, how.batch, len(subject.latents))]

    state = RunState(folder / "training.safetensors", "surrogate", progress)
    rng, only = torch.Generator().manual_seed(seed), learnable(theta).__contains__
    finetune(
        theta,
        feed,
        subject.prompt,
        kind,
        how,
        steps,
        rng,
        state,
        lambda n: torch.empty(0),
        only=only,
    )
    keep(steps)
    remove(folder / "training.safetensors")
    return paths


def _digest(
    theta: LDM,
    subject: LatentDataset,
    kind: LatentDataset | None,
    how: Training,
    steps: int,
    at: Sequence[int],
    seed: int,
) -> str:
    """Hash of all that decides the snapshots, hex."""
    where = f"{theta.device.type} {torch.__version__} {torch.get_num_threads()}"
    shapes = [
        (name, tuple(p.shape)) for name, p in learnable(theta).items()
    ]  # tells LoRA's ranks and layers
    text = f"pool 1 {theta.weights} {theta.dtype} {shapes} {how} {steps} {list(at)} {seed} {where}"
    digest = hashlib.sha256(text.encode())
    for what in (subject, kind):
        if what is not None:
            digest.update(what.prompt.encode() + what.latents.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
