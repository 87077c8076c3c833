"""What a protection does, seen from inside: whether CLIP takes it for noise, and which half of the
model carries it.

Liu et al., "Rethinking and Defending Protective Perturbation in Personalized Diffusion Models",
arXiv 2406.18944, explain protections by a shortcut: to CLIP a protected portrait is rather noise
than a person, and a trainer learns this noise in place of the person. `inspect` asks the same of
any photos and any CLIP, follows attackers along their training, and measures both halves of the
model (see bottleneck.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cloakwork import registry, specs
from cloakwork.environment import surroundings
from cloakwork.errors import UserError
from cloakwork.evaluation import compute, steps, training_curve
from cloakwork.evaluation.design import (
    CLEAN,
    PROTECTED,
    Subject,
    ThreatModel,
    arms,
    attack_step,
)
from cloakwork.evaluation.displacement import displacements
from cloakwork.evaluation.inspection import (
    clip_or_fault,
    seen_by_autoencoders,
    seen_by_clip,
    seen_by_denoiser,
)
from cloakwork.evaluation.photo_pairs import find_subjects
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.statistics import Estimate
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.files import expand_home, write_json
from cloakwork.finetuning.cdl import NO_CDL
from cloakwork.finetuning.training import PREVIEW
from cloakwork.models import autoencoders, latent_spaces, pixel_ddpm
from cloakwork.models.autoencoders import Autoencoder
from cloakwork.models.clip import Clip
from cloakwork.photos.folders import refuse_report_among_photos
from cloakwork.photos.left_out import left_out_of
from cloakwork.photos.preprocessing import preprocess
from cloakwork.specs import Method
from cloakwork.state import Progress
from cloakwork.types import Photos
from cloakwork.workflows.defaults import AUTOENCODERS, INSPECT_METRICS, TEXTS
from cloakwork.workflows.inspect_results import Inspection, conclusions, draw

CLEAN_PURIFIED, PURIFIED = "clean, purified", "protected, purified"


@dataclass(frozen=True)
class Watched:
    """An attacker that is looked at while it trains."""

    threat_model: ThreatModel
    """its purifiers are those of the inspection"""
    every: int
    """training steps between two looks"""
    metrics: tuple[str, ...] = INSPECT_METRICS
    """what its pictures are scored by"""

    def record(self) -> dict[str, Any]:
        """Return what was watched as it stands in inspection.json."""
        return {
            "thief": self.threat_model.record(),
            "every": self.every,
            "metrics": self.metrics,
        }


def inspect(
    protected: Path | str,
    out: Path | str,
    *,
    clean: Path | str | None = None,
    purifiers: str | Sequence[Method | tuple[str, Any]] = (),
    clip: str = "tiny",
    texts: tuple[str, str] = TEXTS,
    coders: Sequence[str] = AUTOENCODERS,
    fetch: bool = False,
    victim: str = "tiny",
    denoiser: str = "tiny",
    watched: Watched | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    store: Path | str | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Measure how CLIP, autoencoders, a denoiser and an attacker in training see photos.

    The photos are clean, noisy, protected and, with purifiers, purified.

    Args:
        protected: a folder of protected photos.
        out: folder for inspection.json and the figures (each an SVG and a PNG).
        clean: folder of the originals; None takes those that the records beside the protected
            photos name.
        purifiers: as `purify` takes them; clean photos go through them too.
        clip: the CLIP that looks: "tiny", a folder, a hub id.
        texts: what a photo shows, and what it shows if it is taken for noise.
        coders: autoencoders, as `autoencoders.load` takes them; or families of models ("sd3",
            "flux2:full"), or "all" that are at hand.
        fetch: fetch encoders of families from the hub that are not on this machine.
        victim: the model at whose size photos are seen, and whose denoiser is attacked in the space
            of its latents.
        denoiser: what purifiers that diffuse pixels use; those that diffuse latents use the victim.
        watched: an attacker in training, which takes many times longer; None: no training.
        seed: decides everything random.
        device, dtype: where models run and what the victim's arithmetic is autocast to.
        store: folder or fsspec URL of finished steps; None keeps them in `out`.
        progress: called with a label, steps done and their total.

    Raises:
        UserError: photos that do not pair up, an output folder in theirs, unknown models or
            methods, an attacker that does not train.
    """
    out = expand_home(out)
    refuse_report_among_photos(out, protected, clean)
    chain = specs.purifiers(purifiers, victim, denoiser)
    if watched:
        _check_watched(watched)
    coders = latent_spaces.spelled(coders, device, fetch=fetch)
    eyes, halves = clip_or_fault(clip), [autoencoders.load(name, device) for name in coders]
    workspace = Workspace(store or out / ".cloakwork", device, progress)
    subjects = find_subjects(protected, clean)
    settings = {"model": victim, "denoiser": denoiser, "seed": seed, "dtype": dtype}
    photos = _photos_by_arm(subjects, chain, settings, workspace)
    size = workspace.model(victim, dtype).size
    squares = {
        arm: {s: preprocess(images, size) for s, images in of.items()} for arm, of in photos.items()
    }
    result = Inspection(
        texts,
        *seen_by_clip(photos, eyes, texts),
        *seen_by_autoencoders(squares, halves),
        displacements(halves, photos),
        seen_by_denoiser(squares, workspace, victim, dtype, texts[0], seed),
        _along_training(subjects, watched, chain, seed, workspace) if watched else {},
        [],
    )
    sentences = [*conclusions(result, eyes, victim), *left_out_of(protected, clean)]
    result = replace(result, sentences=sentences)
    about = _about(settings, eyes, halves, watched, chain, subjects, workspace)
    write_json(out / "inspection.json", asdict(result) | about)
    draw(result, out)
    workspace.results.tidy()
    return result


def _about(
    settings: dict[str, Any],
    eyes: Clip,
    halves: Sequence[Autoencoder],
    watched: Watched | None,
    chain: Sequence[Method],
    subjects: Sequence[Subject],
    workspace: Workspace,
) -> dict[str, Any]:
    """Return everything needed to inspect the same photos again."""
    victim, denoiser, dtype = (settings[name] for name in ("model", "denoiser", "dtype"))
    in_pixels = any(method.model_kind == "pixels" for method in chain)
    return {
        "clip": str(eyes),
        "autoencoders": {half.name: half.weights for half in halves},
        "victim": {"name": victim, "weights": workspace.model(victim, dtype).weights},
        "seed": settings["seed"],
        "dtype": dtype,
        "pixel_denoiser": {"name": denoiser, "weights": pixel_ddpm.weights(denoiser)}
        if in_pixels
        else None,
        "watched": watched.record() if watched else None,
        "purifiers": [method.record() for method in chain],
        "photo_sets": [s.name for s in subjects],
        "surroundings": surroundings(workspace.torch_device),
    }


def _check_watched(watched: Watched) -> None:
    """Refuse an attacker, an interval or metrics with which no training can be watched."""
    attacker = watched.threat_model.attacker
    if not attacker.trains:
        raise UserError(
            f"'{attacker.name}' does not train, so there is no training to watch. Name a trainer."
        )
    most = attacker.config.steps
    if not 1 <= watched.every <= most:
        raise UserError(
            f"The training has {most} steps and is looked at every {watched.every}. "
            f"Allowed are 1 to {most}."
        )
    paired = [
        m for m in watched.metrics if registry.load("metrics", m).METRIC.reference == "originals"
    ]
    if paired or not watched.metrics:
        why = (
            f"'{paired[0]}' compares with originals, which an attacker's pictures do not have"
            if paired
            else "No metric was named"
        )
        raise UserError(f"{why}. Name metrics such as {', '.join(INSPECT_METRICS)}.")


def _photos_by_arm(
    subjects: Sequence[Subject],
    purifiers: Sequence[Method],
    settings: dict[str, Any],
    workspace: Workspace,
) -> dict[str, dict[str, Photos]]:
    """Return the photos that are inspected: arm -> photo set -> photos."""
    sources = {s.name: _arms(s, purifiers, settings) for s in subjects}
    return {
        arm: {s: compute.photos(of[arm], workspace) for s, of in sources.items()}
        for arm in sources[subjects[0].name]
    }


def _arms(
    subject: Subject, purifiers: Sequence[Method], settings: dict[str, Any]
) -> dict[str, Source | Step]:
    """Return the photos of one photo set that are inspected, by arm."""
    by_arm = arms(subject, settings["seed"])
    if purifiers:
        by_arm[CLEAN_PURIFIED] = steps.purify_steps(subject.clean, purifiers, **settings)
        by_arm[PURIFIED] = steps.purify_steps(subject.protected, purifiers, **settings)
    return by_arm


def _along_training(
    subjects: Sequence[Subject],
    watched: Watched,
    purifiers: tuple[Method, ...],
    seed: int,
    workspace: Workspace,
) -> dict[str, dict[str, dict[int, Estimate]]]:
    """Score attackers along their training.

    They train on clean, protected and purified photos; the last one also decouples the noise.
    """
    config = watched.threat_model.config
    sampling = replace(config.sampling, n=PREVIEW)
    every_part = replace(config.cdl, train=True, suffix=True, negative=True)
    bare = replace(watched.threat_model, purifiers=())
    plain, decoupled = (
        bare.with_config(sampling=sampling, cdl=cdl) for cdl in (NO_CDL, every_part)
    )
    attackers = {CLEAN: (plain, CLEAN), PROTECTED: (plain, PROTECTED)}
    if purifiers:
        attackers[PURIFIED] = replace(plain, purifiers=purifiers), PROTECTED
    attackers[f"{PURIFIED if purifiers else PROTECTED}, + CDL"] = (
        replace(decoupled, purifiers=purifiers),
        PROTECTED,
    )
    curves: dict[str, dict[str, dict[int, Estimate]]] = {m: {} for m in watched.metrics}
    for label, (threat, arm) in attackers.items():
        courses = {
            s.name: training_curve.measure_curve(
                attack_step(arms(s, seed)[arm], s, threat, seed),
                s,
                watched.every,
                watched.metrics,
                workspace,
            )
            for s in subjects
        }
        for metric in watched.metrics:
            curves[metric][label] = training_curve.estimates(courses, metric)
    return curves
