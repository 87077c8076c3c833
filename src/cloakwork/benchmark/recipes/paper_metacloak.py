"""MetaCloak's tables: its surrogates and transformations against other protections, under training
that transforms too.

Liu et al., "MetaCloak: Preventing Unauthorized Subject-driven Text-to-image Diffusion-based
Synthesis via Meta-learning", arXiv 2311.13127, by its project page and release
(liuyixin-louis/MetaCloak at 67bcf70): Stable Diffusion 2.1-base is surrogate and victim, the budget
11/255; the attacker trains DreamBooth for 1000 steps of 1 + 1 pictures, either as it is
("standard") or with blurs and flips of the photos ("transformed"), and draws 16 pictures for each
of two prompts; numbers are means over all.

Tables: protections (the paper's Table 1, transformed, and the same under standard training),
purification (its Table 4: JPEG 75, super-resolution, total variation, under both trainings),
budgets (eight protections at 4, 8, 12 and 16/255 as the benchmark of arXiv 2507.03953 has them,
vkeilo/DiffAdvPerturbationBench at 3ccb77f; the paper's own budgets could not be checked), transfer
(other victims; for these the paper's numbers could not be had).

The paper's algorithm ("metacloak:paper") and its released loop ("metacloak:release") are two
protections and stand side by side.

What is not the papers':
- surrogates learn from the photos themselves, ASPL's and FSMG's too (their own paper's: from set
  A);
- 50 people a data set are described, but Table 1 looks like the mean over 128 pictures, which four
  people make;
- the other protections are their own papers' presets at this budget, and E-ASPL's three models are
  Anti-DreamBooth's; what settings the paper ran them with is not known. In "budgets" a step is a
  tenth of the budget for the same reason, and PhotoGuard is Diff-Protect's (Mist's textural mode),
  whose code that benchmark runs;
- TVM works at the photo's own size, and one super-resolution follows (the release: at 64 px,
  enlarged twice);
- faces are found and compared by insightface's pack antelopev2 (the paper: RetinaFace and
  VGG-Face), LIQE's weights are the user's to convert; without them `ims_vgg` and the rest are
  unscored. AdamW keeps its moments in 32 bits (the release: 8).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cloakwork.benchmark.grids import PROMPTS, Grid, Table, threat_model
from cloakwork.benchmark.recipes._papers import (
    CLIP,
    FACES,
    LIQE,
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
from cloakwork.photos.preprocessing import CENTRE, Preprocessing

PEOPLE, PICTURES, BUDGET = 50, 16, 11
RADII = (4, 8, 12, 16)
TRAINER = "dreambooth:paper:batch=1"
TRANSFORMED = Preprocessing(flip=0.5, blur=7, blur_sigma=(0.1, 2.0))
BENCHED = (
    "aspl:paper",
    "fsmg:paper",
    "advdm:paper",
    "mist:paper",
    "mist:paper:mode=textural",
    "sds:paper",
    "simac:paper",
    "metacloak:release",
)
BENCH_PROMPTS = ("a photo of sks person", "a dslr photo of sks person")


def paper_metacloak(data: Path | None, models: Mapping[str, str] = {}) -> Grid:
    """Build the grid.

    Args:
        data: as `_papers.portraits` takes it.
        models: what to use instead of a model that the paper names.
    """
    name = names(models)
    people = portraits(data, PEOPLE, compared="set_C", set_a=False).items()
    about = (
        "MetaCloak, arXiv 2311.13127: attackers who use DreamBooth on people's photos, and may "
        "blur and flip them, which it is said to survive. It says nothing of editors."
    )
    return Grid(
        "paper_metacloak",
        about,
        tuple(table for dataset, subjects in people for table in _tables(dataset, subjects, name)),
    )


def _tables(dataset: str, subjects: tuple[Subject, ...], name: Name) -> tuple[Table, ...]:
    """Return the tables of a data set."""
    three = "+".join(name(m) for m in (SD14, SD15, SD21))
    others = (
        "aspl:paper",
        f"aspl:paper@{three}",
        "fsmg:paper",
        "advdm:paper",
        "glaze:paper",
        "photoguard:paper",
    )
    ours = ("metacloak:paper", "metacloak:release")
    trained = (_threat("standard", name), _threat("transformed", name, TRANSFORMED))
    # texts and not Methods: a protection's text is its label in results and in reported.json
    radii = tuple(
        f"{word}{',' if '=' in word else ':'}budget={r},step=None"
        for r in RADII
        for word in BENCHED
    )
    benched = _threat("standard", name, prompts=BENCH_PROMPTS)
    elsewhere = tuple(
        _threat(label, name, TRANSFORMED, model=model)
        for label, model in (("2.1-base", SD21), ("1.5", SD15), ("1.4", SD14))
    )
    return tuple(
        Table(
            titled(title, dataset),
            protections,
            threats,
            subjects,
            _metrics(name),
            1,
            budget,
            (name(SD21),),
            about=about,
        )
        for title, protections, threats, budget, about in (
            (
                "protections",
                (*others, *ours),
                trained,
                BUDGET,
                "Table 1; E-ASPL is the one with three models behind an @.",
            ),
            (
                "purification",
                ours,
                _purifying(name),
                BUDGET,
                "Table 4: what the attacker does to the photos first.",
            ),
            (
                "budgets",
                radii,
                (benched,),
                None,
                "Eight protections at four budgets, as in arXiv 2507.03953.",
            ),
            (
                "transfer",
                ("aspl:paper", *ours),
                elsewhere,
                BUDGET,
                "The attacker's model is not the protector's, 2.1-base.",
            ),
        )
    )


def _metrics(name: Name) -> tuple[str, ...]:
    """Return the metrics, with the models at hand."""
    faces, clip, liqe = name(FACES), name(CLIP), name(LIQE)
    return (
        f"subject_detection:embedder={faces}",
        f"ims_clip:clip={clip}",
        ims_vgg(name),
        f"clip_iqac:clip={clip}",
        f"liqe_scene_human:clip={liqe}",
        f"liqe_quality:clip={liqe}",
    )


def _purifying(name: Name) -> tuple[ThreatModel, ...]:
    """Return the attackers who purify, under both trainings."""
    larger = f"codesr:paper:upscaler={name(UPSCALER)}"
    chains = {"": "", " + SR": larger, " + TVM": f"tvm+{larger}", " + JPEG 75": "jpeg:quality=75"}
    trainings = {"standard": CENTRE, "transformed": TRANSFORMED}
    return tuple(
        _threat(f"{training}{purifier}", name, loader, purifiers=chain)
        for training, loader in trainings.items()
        for purifier, chain in chains.items()
    )


def _threat(
    label: str,
    name: Name,
    loader: Preprocessing = CENTRE,
    *,
    model: str = SD21,
    prompts: tuple[str, ...] = PROMPTS,
    purifiers: str = "",
) -> ThreatModel:
    """Return an attacker of the paper; `label` is its name in tables."""
    threat = threat_model(
        label, TRAINER, victim=name(model), purifiers=purifiers, prompts=prompts, pictures=PICTURES
    )
    return threat.with_config(loader=loader)
