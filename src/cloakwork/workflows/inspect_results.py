"""What an inspection found: its numbers, what they mean in words, and their figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloakwork.evaluation import figures, inspection, training_curve
from cloakwork.evaluation.design import CLEAN, NOISE, PROTECTED
from cloakwork.evaluation.inspection import ArmEstimates
from cloakwork.evaluation.statistics import Estimate
from cloakwork.models.clip import Clip


@dataclass(frozen=True)
class Inspection:
    """The results of an inspection.

    Arms are clean, noise and protected; with purifiers, also both purified.
    """

    texts: tuple[str, str]
    zero_shot: ArmEstimates
    """how likely the first text is to CLIP, against the second"""
    embeddings: dict[str, list[list[float]]]
    """arm -> a point for each photo, in the plane of the two directions in which CLIP's embeddings
    of all arms differ most"""
    pixels: ArmEstimates
    """how far photos, as a model sees them, were moved, in shares of their spread"""
    latents: dict[str, ArmEstimates]
    """autoencoder -> the same of their latents"""
    amplified: dict[str, ArmEstimates]
    """autoencoder -> latents over pixels"""
    displacement: dict[str, dict[int, ArmEstimates]]
    """autoencoder -> size at which a loader shows it the photos, pixels -> how far latents were
    moved, in shares of their spread"""
    denoiser: dict[str, dict[str, Estimate]]
    """an arm, "attacked by 0.1" or "scattered by 0.1" -> latents, error, answers, as in
    `bottleneck.DenoiserShift`"""
    training: dict[str, dict[str, dict[int, Estimate]]]
    """metric -> attacker -> training steps -> score; empty where none was watched"""
    sentences: list[str]


def conclusions(found: Inspection, eyes: Clip, victim: str) -> list[str]:
    """Return what the numbers mean, in words."""
    likely = ", ".join(f"{arm} {e.mean:.2f}" for arm, e in found.zero_shot.items())
    sentences = [
        f"{eyes} finds '{found.texts[0]}' likelier than '{found.texts[1]}' with this probability: "
        f"{likely}."
    ]
    for half, arms_found in found.amplified.items():
        ours, noise = arms_found[PROTECTED], arms_found[NOISE]
        sentences.append(
            f"The encoder of {half} carries the protection {ours.mean:.1f} times as far "
            f"as it is in the photo [{ours.low:.1f}, {ours.high:.1f}], "
            f"random noise {noise.mean:.1f} times."
        )
    share = max(inspection.SHARES)
    labels = (CLEAN, PROTECTED, f"attacked by {share:g}", f"scattered by {share:g}")
    clean, protected, attacked, scattered = (found.denoiser[x]["error"].mean for x in labels)
    sentences.append(
        f"The denoiser of {victim}, attacked alone by {share:g} of the latents' spread, "
        f"errs {attacked / clean:.1f} times as much as on clean latents "
        f"({scattered / clean:.1f} times if they are moved as far at random). "
        f"On protected photos it errs {protected / clean:.1f} times as much."
    )
    blank = [m for m, courses in found.training.items() if training_curve.unscored(courses)]
    sentences += [
        f"{m} scores nothing along the training; `cloakwork score` with it says why." for m in blank
    ]
    return [*sentences, "None of this says what an attacker gets; an audit does."]


def draw(found: Inspection, out: Path) -> None:
    """Draw the figures of an inspection; an arm has the same colour in all of them."""
    (seen, taken_for), order = found.texts, list(found.zero_shot)
    figures.dots(
        out / "zero-shot",
        {"": found.zero_shot},
        line=0.5,
        order=order,
        title=f"What CLIP sees: '{seen}', or '{taken_for}'",
        axis="how likely the first is",
    )
    figures.points(
        out / "embeddings",
        found.embeddings,
        title="CLIP's embeddings; a photo's lead back to the clean one",
        axes=("first main direction", "second main direction"),
    )
    if found.amplified:
        figures.dots(
            out / "encoders",
            _by_end(found.amplified),
            line=1,
            order=order,
            title="How far encoders carry a change in the photo",
            axis="change of the latent over that of the photo, in shares of their spread",
        )
    figures.lines(
        out / "denoiser",
        {"denoising error": _denoising_errors(found)},
        title="How much the denoiser errs on latents that were moved",
        axis="change of the latent, in shares of its spread",
    )
    if found.training:
        figures.lines(
            out / "training",
            found.training,
            order=order,
            axis="training steps",
            title="What the attacker's pictures score, along its training",
        )


def _by_end(encoders: Mapping[str, ArmEstimates]) -> Mapping[str, ArmEstimates]:
    """Return encoders by the ends of their paths, where these tell them apart."""
    ends = [Path(name).name for name in encoders]
    if len(set(ends)) < len(ends):
        return encoders
    return dict(zip(ends, encoders.values(), strict=True))


def _denoising_errors(found: Inspection) -> dict[str, dict[float, Estimate]]:
    """Return how much the denoiser errs, by arm or manner and by how far latents were moved."""
    arms = {
        arm: {e["latents"].mean: e["error"]}
        for arm, e in found.denoiser.items()
        if arm in found.zero_shot
    }
    return arms | {
        manner: {s: found.denoiser[f"{manner} by {s:g}"]["error"] for s in inspection.SHARES}
        for manner in ("attacked", "scattered")
    }
