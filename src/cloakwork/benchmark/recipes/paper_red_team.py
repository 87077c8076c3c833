"""The red team's tables: seven protections under nine purifiers, and under CodeSR with contrastive
decoupling learning.

Liu et al., "Rethinking and Defending Protective Perturbation in Personalized Diffusion Models"
(later "Red-Teaming"), arXiv 2406.18944, by its release (liuyixin-louis/DiffShortcut at 7620b9d) and
its public reviews: Stable Diffusion 2.1-base is surrogate and victim, budget 11/255, four people of
VGGFace2 with eight photos each; DreamBooth of 1000 steps of 1 + 1 pictures, 16 pictures for each of
two prompts, 100 steps, guidance 7.5.

Tables: purifiers (the paper's Table 1), purifiers with CDL (what its reviewers asked for: CDL with
every purifier), ablation (its Table 4 and CDL's three parts one by one, against ASPL), adaptive
(its Table 3: a protector who knows the purifier, 16/255).

What is not the paper's:
- its two numbers are mixtures: IMS is .7 of a likeness by antelopev2 and .3 of one by VGG-Face, Q
  half LIQE's quality brought to [-1, 1] and half CLIP-IQAC. Here their parts stand for themselves
  (`identity`, `ims_vgg` by antelopev2 too, `liqe_quality`, `clip_iqac`), so that the paper's
  numbers, kept in reported.json as IMS, Q and Avg, have no cell;
- DDSPure is not here; LatentDiffPure takes the attacker's model (theirs: 1.4); TVM works at the
  photo's own size, without super-resolution after it; the diffusion purifiers get pictures in the
  range they were trained on (theirs do not);
- the attacker's words at sampling and the negative prompt come with CDL only (the release adds the
  former always);
- which four of the eight photos are learned is not said: set_B here, and pictures are compared with
  set_C, where there is one; surrogates learn from the photos themselves;
- MetaCloak is its released loop; PhotoGuard (200 steps of 1/255) and Glaze are set as the release
  sets them, the others as in their own papers; the adaptive protector looks through CodeSR's
  differentiable stand-in, see `adaptive`;
- CodeFormer's weights are the user's to bring: name the file in `models` under CodeFormer, or "" to
  leave faces as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cloakwork.benchmark.grids import PROMPTS, Grid, Table, threat_model
from cloakwork.benchmark.recipes._papers import (
    CLIP,
    CODEFORMER,
    FACES,
    LIQE,
    PIXELS,
    SD14,
    SD15,
    SD21,
    UPSCALER,
    Name,
    ims_vgg,
    names,
    portraits,
    titled,
)
from cloakwork.evaluation.design import Subject, ThreatModel
from cloakwork.finetuning.cdl import CDL, FULL_CDL
from cloakwork.finetuning.cdl import NO_CDL as PLAIN

PEOPLE, PICTURES, BUDGET, ADAPTIVE_BUDGET = 4, 16, 11, 16
TRAINER = "dreambooth:paper:batch=1"
SIMPLE = {"blur": "blur:diffshortcut", "JPEG": "jpeg:quality=75", "TVM": "tvm"}
DIFFUSING = {
    "PixelDiffPure": "diffpure:paper",
    "GrIDPure": "gridpure:diffshortcut",
    "LatentDiffPure": "latent_diffpure:paper",
    "LatentDiffPure, empty prompt": "latent_diffpure:empty",
    "IMPRESS": "impress:paper",
}


def paper_red_team(data: Path | None, models: Mapping[str, str] = {}) -> Grid:
    """Build the grid.

    Args:
        data: as `_papers.portraits` takes it.
        models: what to use instead of a model that the paper names.
    """
    name = names(models)
    people = portraits(data, PEOPLE, compared="set_C", set_a=False).items()
    about = (
        "CodeSR and CDL, arXiv 2406.18944: an attacker who cleans photos before learning them, and "
        "has a name for the noise that is left. Four people: indicative only, as in the paper."
    )
    return Grid(
        "paper_red_team",
        about,
        tuple(table for dataset, subjects in people for table in _tables(dataset, subjects, name)),
    )


def _tables(dataset: str, subjects: tuple[Subject, ...], name: Name) -> tuple[Table, ...]:
    """Return the tables of a data set."""
    three = "+".join(name(m) for m in (SD14, SD15, SD21))
    seven = (
        "fsmg:paper",
        "aspl:paper",
        f"aspl:paper@{three}",
        "metacloak:release",
        "advdm:paper",
        "photoguard:paper:steps=200,step=1,final_step=1",
        "glaze:diffshortcut",
    )
    metrics = (
        f"identity:embedder={name(FACES)}",
        ims_vgg(name),
        f"liqe_quality:clip={name(LIQE)}",
        f"clip_iqac:clip={name(CLIP)}",
    )
    purifiers = {"nothing": "", **SIMPLE, **DIFFUSING, "CodeSR": _codesr(name)}
    plain = tuple(
        _threat(label, name, chain) for label, chain in purifiers.items() if label != "CodeSR"
    )
    decoupled = tuple(
        _threat(f"{label} + CDL", name, chain, FULL_CDL) for label, chain in purifiers.items()
    )
    return tuple(
        Table(
            titled(title, dataset),
            protections,
            threats,
            subjects,
            metrics,
            1,
            budget,
            (name(SD21),),
            about=about,
        )
        for title, protections, threats, budget, about in (
            (
                "purifiers",
                seven,
                (*plain, decoupled[-1]),
                BUDGET,
                "Table 1: purifiers without CDL, and CodeSR with it.",
            ),
            (
                "purifiers with CDL",
                seven,
                (plain[0], *decoupled),
                BUDGET,
                "Which part of the gain is CDL's, and which the purifier's.",
            ),
            (
                "ablation",
                ("aspl:paper",),
                _ablation(name),
                BUDGET,
                "Table 4, and the three parts of CDL one by one.",
            ),
            (
                "adaptive",
                ("adaptive:paper",),
                _adaptive(name),
                ADAPTIVE_BUDGET,
                "Table 3: a protector who knows of CodeSR, not of CDL.",
            ),
        )
    )


def _ablation(name: Name) -> tuple[ThreatModel, ...]:
    """Return the attackers with parts of CodeSR and of CDL."""
    whole, enlarged = _codesr(name), f"codesr:paper:upscaler={name(UPSCALER)}"
    return (
        _threat("nothing", name),
        _threat("CDL", name, cdl=FULL_CDL),
        _threat("SR", name, enlarged),
        _threat("SR + CDL", name, enlarged, FULL_CDL),
        _threat("CodeFormer + SR", name, whole),
        _threat("CodeFormer + SR + CDL", name, whole, FULL_CDL),
        _threat("CDL, training only", name, cdl=CDL(train=True)),
        _threat("CDL, words at sampling only", name, cdl=CDL(suffix=True)),
        _threat("CDL, negative prompt only", name, cdl=CDL(negative=True)),
    )


def _adaptive(name: Name) -> tuple[ThreatModel, ...]:
    """Return the attackers that the adaptive protection meets."""
    return (
        _threat("nothing", name),
        _threat("CodeSR", name, _codesr(name)),
        _threat("CodeSR + CDL", name, _codesr(name), FULL_CDL),
    )


def _codesr(name: Name) -> str:
    """Return CodeSR's spec, with the models at hand."""
    return f"codesr:paper:upscaler={name(UPSCALER)},codeformer={name(CODEFORMER)}"


def _threat(label: str, name: Name, purifiers: str = "", cdl: CDL = PLAIN) -> ThreatModel:
    """Return an attacker of the paper; `label` is its name in tables."""
    threat = threat_model(
        label, TRAINER, victim=name(SD21), purifiers=purifiers, prompts=PROMPTS, pictures=PICTURES
    )
    return replace(threat.with_config(cdl=cdl), denoiser=name(PIXELS))
