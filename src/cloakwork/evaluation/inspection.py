"""What CLIP, autoencoders and a denoiser see in photos, arm by arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields

import torch
import torch.nn.functional as F

from cloakwork.errors import Unscored, UserError
from cloakwork.evaluation import bottleneck
from cloakwork.evaluation.bottleneck import EncoderShift
from cloakwork.evaluation.design import (
    CLEAN,
)
from cloakwork.evaluation.statistics import Estimate, estimate
from cloakwork.evaluation.steps import Workspace
from cloakwork.models.autoencoders import Autoencoder
from cloakwork.models.clip import Clip, load_clip
from cloakwork.types import Images, Photos

# of the latents' spread, by which the denoiser's latents are moved
SHARES = (0.05, 0.1, 0.2, 0.4, 0.8)


ArmEstimates = dict[str, Estimate]  # arm -> mean over photo sets and their photos


def seen_by_clip(
    photos: Mapping[str, Mapping[str, Photos]], eyes: Clip, texts: tuple[str, str]
) -> tuple[ArmEstimates, dict[str, list[list[float]]]]:
    """Return for each arm how likely the first text is, and its points in a plane."""
    c = F.normalize(eyes.texts(texts), dim=-1)
    seen = {
        arm: {s: F.normalize(eyes.pictures(images), dim=-1) for s, images in of.items()}
        for arm, of in photos.items()
    }
    likely = {
        arm: estimate(
            {s: {0: (eyes.scale * e @ c.T).softmax(-1)[:, 0].tolist()} for s, e in of.items()}
        )
        for arm, of in seen.items()
    }
    together = torch.cat([e for of in seen.values() for e in of.values()])
    middle = together.mean(0)
    _, _, directions = torch.linalg.svd(together - middle, full_matrices=False)
    plane = {
        arm: ((torch.cat(list(of.values())) - middle) @ directions[:2].T).tolist()
        for arm, of in seen.items()
    }
    return likely, plane


def seen_by_autoencoders(
    squares: Mapping[str, Mapping[str, Images]], halves: Sequence[Autoencoder]
) -> tuple[ArmEstimates, dict[str, ArmEstimates], dict[str, ArmEstimates]]:
    """Measure how far pixels and latents were moved.

    Returns:
        The pixels' shift; for each autoencoder the latents' shift, and the ratio of the two.
    """
    pixels: ArmEstimates = {}
    latents: dict[str, ArmEstimates] = {}
    amplified: dict[str, ArmEstimates] = {}
    for half in halves:
        others = [arm for arm in squares if arm != CLEAN]
        of = {
            s: bottleneck.encoder_shift(half, x, {arm: squares[arm][s] for arm in others})
            for s, x in squares[CLEAN].items()
        }
        shifts = {arm: {s: moved[arm] for s, moved in of.items()} for arm in others}
        pixels = _means(shifts, lambda m: m.pixels)
        latents[half.name], amplified[half.name] = (
            _means(shifts, lambda m: m.latents),
            _means(shifts, lambda m: m.amplified),
        )
    return pixels, latents, amplified


def _means(
    shifts: Mapping[str, Mapping[str, EncoderShift]], values: Callable[[EncoderShift], list[float]]
) -> ArmEstimates:
    """Return the mean of one of the shifts' values, by arm."""
    return {arm: estimate({s: {0: values(m)} for s, m in of.items()}) for arm, of in shifts.items()}


def seen_by_denoiser(
    squares: Mapping[str, Mapping[str, Images]],
    workspace: Workspace,
    victim: str,
    dtype: str,
    text: str,
    seed: int,
) -> dict[str, dict[str, Estimate]]:
    """Measure the denoiser on every arm's latents and on clean latents moved for it alone.

    All of them meet the same noises.
    """
    ldm = workspace.model(victim, dtype)
    c, shifts = ldm.embed([text]), {}
    for subject in squares[CLEAN]:
        with torch.no_grad():
            latents = {arm: ldm.encode(of[subject].to(ldm.device)) for arm, of in squares.items()}
        z = latents[CLEAN]
        for share in SHARES:
            # other noises than they are met under afterwards
            rng = torch.Generator().manual_seed(seed + 1)
            latents[f"attacked by {share:g}"] = bottleneck.attack_denoiser(ldm, c, z, share, rng)
            latents[f"scattered by {share:g}"] = bottleneck.scatter(z, share, rng)
        shifts[subject] = bottleneck.denoiser_shift(
            ldm, c, z, latents, torch.Generator().manual_seed(seed)
        )
    labels = next(iter(shifts.values()))
    return {
        label: {
            f.name: estimate({s: {0: getattr(e[label], f.name)} for s, e in shifts.items()})
            for f in fields(bottleneck.DenoiserShift)
        }
        for label in labels
    }


def clip_or_fault(name: str) -> Clip:
    """Load a CLIP; raise UserError with the reason where that fails."""
    try:
        return load_clip(name)
    except Unscored as error:
        raise UserError(error.reason) from None
