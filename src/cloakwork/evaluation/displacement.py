"""How far photos' latents are moved, at each size at which a loader may show the photos.

At a photo's own size alone a perturbation can look stronger than it is: stripes of a pixel's width
move latents far, and are gone after any resize. So photos are cut and resized as an attacker's
loader does it, to several sizes, before an encoder sees them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloakwork.evaluation import bottleneck
from cloakwork.evaluation.design import CLEAN
from cloakwork.evaluation.statistics import Estimate, estimate
from cloakwork.models.autoencoders import Autoencoder, view_sizes
from cloakwork.models.encoder import Encoder
from cloakwork.photos.preprocessing import preprocess
from cloakwork.types import Photos


def displacement(
    coder: Encoder, clean: Photos, others: Mapping[str, Photos], size: int
) -> dict[str, list[float]]:
    """Measure how far an encoder's latents of photos are moved, as a loader shows them at a size.

    Args:
        coder: the encoder.
        clean: the originals, each 3 x H x W in [0, 1].
        others: changed ones by name, of the same sizes.
        size: side of the pictures that the encoder sees, pixels.

    Returns:
        By name, for each photo: root mean square of the change, in shares of the clean latents'
        spread.
    """
    shown = {name: preprocess(photos, size) for name, photos in others.items()}
    shifts = bottleneck.encoder_shift(coder, preprocess(clean, size), shown)
    return {name: shift.latents for name, shift in shifts.items()}


def least_size(sizes: Sequence[int], side: int) -> int:
    """Return the size at which photos are looked at where there is time for one look alone.

    It is the smallest at which an encoder's models are used, and three quarters of a photo's side
    or less, so that stripes of a pixel's width do not count.

    Args:
        sizes: of the models' pictures, pixels.
        side: the photo's short side, pixels.

    >>> least_size((512, 1024), 3000), least_size((512, 1024), 600), least_size((512,), 128)
    (512, 384, 96)
    """
    views = view_sizes((min(sizes),), side)
    return max((size for size in views if 4 * size <= 3 * side), default=views[0])


def displacements(
    coders: Sequence[Autoencoder], photos: Mapping[str, Mapping[str, Photos]]
) -> dict[str, dict[int, dict[str, Estimate]]]:
    """Measure how far latents are moved in every arm, at the sizes of each encoder's models.

    Args:
        coders: the encoders.
        photos: arm -> photo set -> photos, each 3 x H x W in [0, 1].

    Returns:
        Encoder -> size, pixels -> arm -> mean over photo sets and their photos.
    """
    side = max(min(p.shape[-2:]) for of in photos[CLEAN].values() for p in of)
    arms = [arm for arm in photos if arm != CLEAN]
    return {
        coder.name: {
            size: _by_arm(coder, photos, arms, size) for size in view_sizes(coder.sizes, side)
        }
        for coder in coders
    }


def _by_arm(
    coder: Encoder, photos: Mapping[str, Mapping[str, Photos]], arms: Sequence[str], size: int
) -> dict[str, Estimate]:
    moved = {
        subject: displacement(coder, clean, {arm: photos[arm][subject] for arm in arms}, size)
        for subject, clean in photos[CLEAN].items()
    }
    return {arm: estimate({s: {0: of[arm]} for s, of in moved.items()}) for arm in arms}
