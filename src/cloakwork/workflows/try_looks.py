"""Encoders' looks at one protected photo, its original, and its original with noise: as they are,
and after purifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from cloakwork import specs
from cloakwork.errors import UserError
from cloakwork.evaluation.design import CLEAN, NOISE, PROTECTED
from cloakwork.evaluation.displacement import displacement, least_size
from cloakwork.models import autoencoders, latent_spaces
from cloakwork.models.autoencoders import Autoencoder
from cloakwork.photos.photo import Photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.sheets import thumbnail
from cloakwork.photos.tensors import as_float, to_bytes
from cloakwork.workflows.purify_job import PurifyJob, job_of

AS_IT_IS = "as it is"
# pixels: side of the middle square that purifiers with networks get at most, for the time's sake
NETWORK_SIDE = 384


@dataclass(frozen=True)
class Shift:
    """How far one encoder's latents of one photo are moved."""

    after: str
    """the purifiers that the photo went through, or AS_IT_IS"""
    encoder: str
    size: int
    """at which it saw the photo, pixels"""
    protected: float
    """root mean square of the change, in shares of the clean latents' spread"""
    noise: float
    """the same by random noise of the same budget"""


@dataclass(frozen=True)
class Looks:
    """Who looks, and after which purifiers.

    Attributes:
        coders: the encoders.
        jobs: the purifiers, as they are written -> what runs them.
        left_out: those that could not run -> the reason; filled as photos come.
    """

    coders: Sequence[Autoencoder]
    jobs: Mapping[str, PurifyJob]
    left_out: dict[str, str] = field(default_factory=dict)


def looks_of(
    coders: Sequence[str], chains: Sequence[specs.Chain], seed: int, device: str, *, fetch: bool
) -> Looks:
    """Return encoders and purifiers by their names.

    Raises:
        UserError: one of them is not known, or an encoder is not here.
    """
    parsed = [specs.purifiers(chain) for chain in chains]
    words = [
        chain if isinstance(chain, str) else "+".join(map(specs.word, methods))
        for chain, methods in zip(chains, parsed, strict=True)
    ]
    names = latent_spaces.spelled(coders, device, fetch=fetch)
    return Looks(
        [autoencoders.load(name, device) for name in names],
        {
            word: job_of(methods, "tiny", "tiny", seed, device, "float32")
            for word, methods in zip(words, parsed, strict=True)
        },
    )


def look(
    looks: Looks, arms: Mapping[str, Photo], tell: Callable[[int, int], None]
) -> tuple[list[Shift], dict[str, Tensor]]:
    """Measure how far encoders' latents of one photo are moved.

    Args:
        looks: who looks, after what.
        arms: the photo clean, with noise, and protected; of one size.
        tell: called with the looks done and their total.

    Returns:
        The shifts; and the middle of the protected photo as it is and after each purifier, for
            people to look at.
    """
    shifts, seen = [], {}
    side = min(arms[CLEAN].pixels.shape[-2:])
    for number, after in enumerate((AS_IT_IS, *looks.jobs)):
        tell(number, 1 + len(looks.jobs))
        if after in looks.left_out:
            continue
        try:
            made = {arm: _after(looks, after, photo) for arm, photo in arms.items()}
        except UserError as error:  # most often an extra that is not installed
            looks.left_out[after] = str(error)
            continue
        shifts += _shifts(looks.coders, made, after, side)
        seen[after] = middle(made[PROTECTED], side)
    tell(1 + len(looks.jobs), 1 + len(looks.jobs))
    return shifts, seen


def middle(pixels: Tensor, side: int) -> Tensor:
    """Return a picture of the middle of a photo, whatever its size has become.

    Args:
        pixels: 3 x H x W, uint8.
        side: of the photo's middle square, pixels, before anything was done to it.
    """
    return thumbnail(preprocess([as_float(pixels)], side)[0])


def _after(looks: Looks, after: str, photo: Photo) -> Tensor:
    """Return a photo's pixels after purifiers, 3 x h x w, uint8.

    Every arm meets the same draws.
    """
    if after == AS_IT_IS:
        return photo.pixels
    job = looks.jobs[after]
    if any(method.networks or method.model_kind for method in job.purifiers):
        side = min(*photo.pixels.shape[-2:], NETWORK_SIDE)
        photo = replace(photo, pixels=to_bytes(preprocess([as_float(photo.pixels)], side)[0]))
    return job.purify(photo, job.generators())


def _shifts(
    coders: Sequence[Autoencoder], made: Mapping[str, Tensor], after: str, side: int
) -> list[Shift]:
    """Measure every encoder's look.

    Clean photos went through the purifiers too: what these do to any photo is no protection.
    """
    sizes = {coder.name: least_size(coder.sizes, side) for coder in coders}
    # once for all encoders of a size: it is what takes longest of a large photo
    views = {
        size: {arm: list(preprocess([as_float(x)], size)) for arm, x in made.items()}
        for size in set(sizes.values())
    }
    shifts = []
    for coder in coders:
        size = sizes[coder.name]
        others = {arm: views[size][arm] for arm in (PROTECTED, NOISE)}
        moved = displacement(coder, views[size][CLEAN], others, size)
        shifts.append(Shift(after, coder.name, size, moved[PROTECTED][0], moved[NOISE][0]))
    return shifts
