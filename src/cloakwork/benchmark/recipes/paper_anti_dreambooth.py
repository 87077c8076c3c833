"""Anti-DreamBooth's tables: FSMG and ASPL, targeted and in ensembles, against DreamBooth; and what
weakens them.

Van Le et al., "Anti-DreamBooth: Protecting users from personalized text-to-image synthesis", arXiv
2303.15433, by its release (VinAIResearch/Anti-DreamBooth at c97e891): Stable Diffusion 2.1-base is
surrogate and victim, 50 people a data set, the protector learns from set A and protects set B, the
attacker trains DreamBooth on B for 1000 steps and draws 16 pictures for each of two prompts.
Budget .05 on [-1, 1] = 6.4/255.

Tables: protections (an attacker for each prompt, as the paper has a column block for each),
budgets, ensemble (noise of one model or of three, attackers with 2.1-base and 2.0-base), mismatch
(another word than sks, another prompt), processed (JPEG, blur, Adverse Cleaner), uncontrolled (one
to three of the attacker's four photos are clean).

What is not the paper's:
- the budgets beside 6.4 are ours, half and twice of it: the paper's own could not be checked; so is
  what the blur is set to;
- clean photos in "uncontrolled" are the first of set B, unprotected (the paper has further ones in
  set C);
- the targeted forms draw to our own pattern (the release ships a picture);
- FDFR is `face_missing` and ISM is 1 - `identity`, by insightface's pack antelopev2 (the paper:
  deepface's RetinaFace, ArcFace);
- SER-FQA, its measure of faces' quality, is not here; its service, Astria, is nobody's to run
  again;
- whatever the methods' own files list as departures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from cloakwork.benchmark.grids import PROMPTS, Grid, Table, threat_model
from cloakwork.benchmark.recipes._papers import (
    FACES,
    SD14,
    SD15,
    SD20,
    SD21,
    Name,
    names,
    portraits,
    titled,
)
from cloakwork.evaluation.design import Subject, ThreatModel

# of a table: title, protections, threat models, about
Parts = tuple[str, tuple[str, ...], tuple[ThreatModel, ...], str]
PEOPLE, PICTURES, BUDGET = 50, 16, 6.4
PHOTO, PORTRAIT = PROMPTS
TRAINER = "dreambooth:paper"
MISMATCHED = "instance_prompt=a DSLR portrait of sks person"
PROCESSES = {
    "as it is": "",
    "JPEG 50": "jpeg:quality=50",
    "blur": "blur:kernel=7",
    "Adverse Cleaner": "bilateral_guided",
}
TARGETED = "target=pattern"


def paper_anti_dreambooth(data: Path | None, models: Mapping[str, str] = {}) -> Grid:
    """Build the grid.

    Args:
        data: as `_papers.portraits` takes it.
        models: what to use instead of a model that the paper names.
    """
    name = names(models)
    people = portraits(data, PEOPLE).items()
    about = (
        "Anti-DreamBooth, arXiv 2303.15433: attackers who use DreamBooth on people's photos. "
        "Pictures without a face, and faces unlike the person, are what it is after. It says "
        "nothing of editors, nor of attackers who purify well."
    )
    return Grid(
        "paper_anti_dreambooth",
        about,
        tuple(table for dataset, subjects in people for table in _tables(dataset, subjects, name)),
    )


def _tables(dataset: str, subjects: tuple[Subject, ...], name: Name) -> Iterator[Table]:
    """Yield the tables of a data set."""
    faces = name(FACES)
    metrics = (f"face_missing:embedder={faces}", f"identity:embedder={faces}", "brisque")
    for title, protections, threats, about in (*_main(name), *_adverse(name)):
        budget = None if title == "budgets" else BUDGET
        yield Table(
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


def _main(name: Name) -> tuple[Parts, ...]:
    """Return the parts of the tables in which the protector's assumptions hold."""
    three = "+".join(name(m) for m in (SD14, SD15, SD21))
    forms = (
        "fsmg:paper",
        f"fsmg:paper:{TARGETED}",
        "aspl:paper",
        f"aspl:paper:{TARGETED}",
        f"aspl:paper@{three}",
    )
    budgets = ("aspl:paper:budget=3.2,step=None", "aspl:paper", "aspl:paper:budget=12.8,step=None")
    of_one = (f"aspl:paper@{name(SD14)}", f"aspl:paper@{name(SD15)}", "aspl:paper")
    by_prompt = (
        _threat("photo", name, prompts=(PHOTO,)),
        _threat("dslr portrait", name, prompts=(PORTRAIT,)),
    )
    by_model = (_threat("2.1-base", name), _threat("2.0-base", name, model=SD20))
    return (
        (
            "protections",
            forms,
            by_prompt,
            "An attacker for each prompt. T- is target=pattern, E- has three models behind an @.",
        ),
        (
            "budgets",
            budgets,
            (_threat("DreamBooth", name),),
            "ASPL at half and twice its budget, a tenth of which is a step.",
        ),
        (
            "ensemble",
            (*of_one, f"aspl:paper@{three}", f"fsmg:ensemble@{three}"),
            by_model,
            "The protector's models stand behind an @ (else 2.1-base), the attacker's is its name.",
        ),
    )


def _adverse(name: Name) -> tuple[Parts, ...]:
    """Return the parts of the tables in which they do not."""
    both = ("fsmg:paper", "aspl:paper")
    mismatched = (
        _threat("as expected", name),
        _threat("another word", name, trainer=f"{TRAINER}:token=t@t"),
        _threat("another prompt", name, trainer=f"{TRAINER}:{MISMATCHED}"),
    )
    processed = tuple(
        _threat(label, name, prompts=(PHOTO,), purifiers=chain)
        for label, chain in PROCESSES.items()
    )
    shares = tuple(_threat(f"{n} of 4 clean", name, clean_share=n / 4) for n in range(4))
    return (
        (
            "mismatch",
            both,
            mismatched,
            "The protector expects the word sks, and the prompt of a photo.",
        ),
        (
            "processed",
            ("aspl:paper",),
            processed,
            "What an attacker, or where the photos were posted, may do to them first.",
        ),
        ("uncontrolled", both, shares, "Some of the attacker's photos were never protected."),
    )


def _threat(
    label: str,
    name: Name,
    *,
    model: str = SD21,
    trainer: str = TRAINER,
    prompts: tuple[str, ...] = PROMPTS,
    purifiers: str = "",
    clean_share: float = 0.0,
) -> ThreatModel:
    """Return an attacker of the paper; `label` is its name in tables."""
    victim = name(model)
    return threat_model(
        label,
        trainer,
        victim=victim,
        purifiers=purifiers,
        clean_share=clean_share,
        prompts=prompts,
        pictures=PICTURES,
    )
