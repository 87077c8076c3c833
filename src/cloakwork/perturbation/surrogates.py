"""Surrogates that learn: copies that may be trained, where they wait, and pools of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor

from cloakwork.finetuning.batches import turn
from cloakwork.finetuning.latent_dataset import LatentDataset, encode_dataset
from cloakwork.finetuning.prior import prior_dataset
from cloakwork.finetuning.training import Training, train_steps
from cloakwork.finetuning.weights import learnable, set_weights
from cloakwork.models.device import free_memory
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import pgd
from cloakwork.perturbation.schedule import Turn
from cloakwork.perturbation.snapshots import snapshots
from cloakwork.photos.preprocessing import Preprocessing, preprocess
from cloakwork.state import RunState, numbered, photos_of
from cloakwork.types import Images, Photos

CPU = torch.device("cpu")


@contextmanager
def trainable_copies(surrogates: Sequence[LDM]) -> Iterator[list[LDM]]:
    """Lend copies of the surrogates that may be trained.

    Where an accelerator has no room for all of them, originals and copies wait in the CPU's memory,
    from where `on_device` fetches one at a time; in the end the originals are back where they were.
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
    """Move a model to `device`, and back to where it was afterwards.

    Its autoencoder, which copies share, goes with it.
    """
    home = ldm.device
    _move(ldm, device)
    try:
        yield ldm
    finally:
        _move(ldm, home)


def _crowded(surrogates: Sequence[LDM]) -> bool:
    """Return whether several surrogates, a copy of each, and what training one of them takes would
    fill most of the accelerator.
    """
    if len(surrogates) < 2 or surrogates[0].device.type != "cuda":
        return False
    # copies have all digits, whatever the surrogates have
    sizes = [sum(4 * p.numel() for p in learnable(ldm).values()) for ldm in surrogates]
    return _would_fill(surrogates[0].device, sizes)


def _would_fill(device: torch.device, sizes: Sequence[int]) -> bool:
    """Return whether weights of so many bytes, and what training the largest of them takes, would
    fill most of a device.
    """
    training = 4 * max(sizes)  # the weights again, gradients, two moments
    return sum(sizes) + training > free_memory(device) / 2  # the other half is for activations


def _move(ldm: LDM, device: torch.device) -> None:
    if ldm.device != device:
        ldm.forget_text()
    waiting = ldm.text_encoders if ldm.low_memory else {}
    for part in [part for name, part in ldm.networks.items() if name not in waiting]:
        if next(part.parameters()).device != device:
            part.to(device)


class Snapshot(NamedTuple):
    """A member of a pool: a surrogate after so many steps of training."""

    theta: LDM
    """the model that its weights are for, which other members share"""
    prior: LatentDataset | None
    """class pictures by the untrained model"""
    snapshot: Path
    """its weights"""


class PromptConfig(Protocol):
    """What a Config says of the words that a surrogate learns."""

    @property
    def class_images(self) -> int: ...
    @property
    def class_sampling_steps(self) -> int: ...
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


def encode_lessons(
    theta: LDM,
    pictures: Images,
    cfg: PromptConfig,
    training: Training,
    steps: int,
    state: RunState,
) -> tuple[LatentDataset, LatentDataset | None]:
    """Encode the subject's pictures (n x 3 x S x S) for theta to learn, and draw its own pictures
    of the class for so many steps.

    Returns:
        The subject, and the class (None where it has no weight).
    """
    with on_device(theta, pictures.device):
        subject = encode_dataset(theta, pictures, cfg.instance_prompt)
        return subject, prior_dataset(
            theta,
            cfg.class_prompt,
            cfg.class_images,
            training,
            steps,
            state,
            sampling_steps=cfg.class_sampling_steps,
        )


def make_snapshots(
    theta: LDM, pictures: Images, cfg: PoolConfig, at: Sequence[int], seed: int, state: RunState
) -> list[Snapshot]:
    """Train theta by DreamBooth on pictures (n x 3 x S x S) of the subject, with a snapshot after
    each of `at` steps.
    """
    steps, training = cfg.surrogate_steps, cfg.training
    with on_device(theta, pictures.device):
        subject, prior = encode_lessons(theta, pictures, cfg, training, max(steps, 1), state)
        paths = snapshots(theta, subject, prior, training, steps, at, seed, state.progress)
    return [Snapshot(theta, prior, path) for path in paths]


@dataclass
class Pool:
    """Surrogates at various stages of training, of which only one at a time is in a model."""

    members: list[Snapshot] = field(default_factory=list)
    moved: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """weights of those that have left their snapshot, as `_copied` keeps them"""

    @contextmanager
    def at(self, m: int, device: torch.device) -> Iterator[LDM]:
        """Lend the model as member m, on `device`."""
        with on_device(self.members[m].theta, device) as theta:
            set_weights(
                theta, self.moved[m] if m in self.moved else load_file(self.members[m].snapshot)
            )
            yield theta

    def draw(self, this_turn: Turn, rng: torch.Generator) -> list[int]:
        """Draw the members that take part in a turn, by their number.

        One that begins again forgets where it, and all others, had got to.
        """
        if this_turn.restart:
            self.moved.clear()
        if this_turn.member is not None:
            return [this_turn.member]
        return torch.randperm(len(self.members), generator=rng)[: this_turn.members].tolist()

    def train(
        self,
        m: int,
        x: Photos,
        cfg: PoolConfig,
        steps: int,
        k: int,
        loader: Preprocessing,
        rng: torch.Generator,
    ) -> None:
        """Take `steps` steps of DreamBooth on photos x with the model of member m, the k-th time.

        Photos are taken in turn, each read anew by the loader.
        """
        if not steps:
            return
        theta, prior, _ = self.members[m]
        taken = [x[i] for i in turn(k, steps * cfg.training.batch, len(x))]
        pictures = preprocess(taken, theta.size, loader, rng)
        subject = encode_dataset(theta, pictures, cfg.instance_prompt)
        train_steps(theta, subject, prior, cfg.training, steps, rng, prior_first=k * steps)

    def keep(self, m: int) -> None:
        """Take the model as it is now for member m."""
        self.moved[m] = _copied(self.members[m].theta)

    def tensors(self, x: Photos) -> dict[str, Tensor]:
        """Return what a checkpoint needs, photos included."""
        weights = {f"{m} {name}": p for m, named in self.moved.items() for name, p in named.items()}
        return weights | numbered(x)

    def resume(self, state: RunState, rng: torch.Generator, photos: Photos) -> tuple[int, Photos]:
        """Take up the last checkpoint.

        Returns:
            Turns done, and the photos then (at the very beginning: `photos`).
        """
        done, saved = state.resume(rng)
        for label, p in saved.items():
            m, _, name = label.partition(" ")
            if name:
                self.moved.setdefault(int(m), {})[name] = p
        return done, photos_of(saved, photos) if saved else photos


def frozen_gradient(theta: LDM, gradient: pgd.Gradient, *, alone: bool) -> pgd.Gradient:
    """Return a gradient through the model as it is now, whatever becomes of it later.

    Args:
        theta: the model.
        gradient: through it.
        alone: the model will not change before the gradient is used, so that no copy is needed.
    """
    weights = {} if alone else _copied(theta)

    def frozen(x: Photos, which: list[int]) -> tuple[pgd.Value, Photos]:
        with on_device(theta, x[0].device):
            set_weights(theta, weights)
            return gradient(x, which)

    return frozen


def _copied(theta: LDM) -> dict[str, Tensor]:
    """Copy the weights that learn, to where they are if there is room for them: the way to the
    CPU's memory and back takes longer than a step.
    """
    named = learnable(theta)
    full = _would_fill(theta.device, [sum(p.nbytes for p in named.values())])
    place = CPU if full else theta.device
    return {name: p.to(place, copy=True) for name, p in named.items()}
