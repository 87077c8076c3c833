"""Diff-Protect's tables: AdvDM, PhotoGuard, Mist and score distillation against editing, inpainting
and textual inversion.

Xue et al., "Toward effective protection against diffusion based mimicry through score
distillation", arXiv 2311.12832, by its release (xavihart/Diff-Protect at ac5ffdb): Stable Diffusion
1.4, budget 16/255 and 100 steps of 1/255 throughout, each photo for itself, four kinds of 100
pictures, edited by SDEdit at strengths .01 to .3 of 100 DDIM steps without guidance, under the
prompt that the protection was computed with.

`data` has a folder for each kind that is at hand (anime, artwork, landscape, portrait), with
pictures in it; textual inversion needs photo sets, a folder each, in a folder `inversion`. Tables:
SDEdit of each kind, inpainting (portraits only), and textual inversion. In this paper PhotoGuard is
Mist's textural mode.

What is not the paper's:
- its pictures and masks are not published: any of these kinds will do, and a centred square is
  painted anew;
- edits of protected photos are compared with the edits of clean ones under the same noise (the
  release: with the clean photos themselves, where any damage counts as protection); its one-step
  edits are not here;
- `l2` stands for PSNR, which is infinite for the edit of a clean picture (20 lg 255/l2; the
  release's wraps round at 8 bits);
- photos are cut to their centre square (the release squeezes them); Mist's target is our own
  pattern;
- textual inversion has no code in the release: sets, prompt, steps and metrics are ours. So are
  CLIP-I beside the others, and "a man in a party" for all portraits (the release has a prompt a
  picture, and this where there is none);
- the numbers of its tables could not be checked, so none stand beside ours; its study with people
  cannot be a recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cloakwork.benchmark.grids import Grid, Table, things, threat_model
from cloakwork.benchmark.recipes._papers import CLIP, INPAINTING, SD14, Name, names
from cloakwork.errors import UserError
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.sources import source
from cloakwork.photos.folders import photo_files

MOST, BUDGET = 100, 16
PROMPTS = {
    "anime": "an anime picture",
    "artwork": "an artwork painting",
    "landscape": "a landscape photo",
    "portrait": "a portrait photo",
}
STRENGTHS = (0.01, 0.05, 0.1, 0.2, 0.3)
PARTY, INVERTED = "a man in a party", "a photo of sks"
PROTECTIONS = (
    "advdm:paper",
    "advdm:paper:g=-",
    "mist:paper:mode=textural",
    "mist:paper",
    "sds:paper:g=+",
    "sds:paper",
    "sdst:paper-rate-1",
    "sdst:paper",
)


def paper_diff_protect(data: Path | None, models: Mapping[str, str] = {}) -> Grid:
    """Build the grid.

    Args:
        data: as above.
        models: what to use instead of a model that the paper names.

    Raises:
        UserError: none of the folders is there.
    """
    name, kinds = names(models), {k: _each(Path(data) / k) for k in PROMPTS} if data else {}
    tables = [_sdedit(kind, subjects, name) for kind, subjects in kinds.items() if subjects]
    if kinds.get("portrait"):
        tables.append(_inpainting(kinds["portrait"], name))
    if data and (Path(data) / "inversion").is_dir():
        tables.append(_inversion(things(Path(data) / "inversion"), name))
    if not tables:
        given = (
            f"{data} has none of the folders that this recipe needs."
            if data
            else "No folder was named with --data."
        )
        raise UserError(
            f"{given} Name a folder with one or more of the folders {', '.join(PROMPTS)} "
            "(pictures) or inversion (a folder for each photo set)."
        )
    about = (
        "Diff-Protect, arXiv 2311.12832: editors of single pictures, and textual inversion. "
        "Unlikeness to the edit of the clean picture is what a protection is after; whether the "
        "edit is a worse picture, only eyes can tell."
    )
    return Grid("paper_diff_protect", about, tuple(tables))


def _each(folder: Path) -> tuple[Subject, ...]:
    """Return every picture of a folder as a photo set of its own."""
    alone = [(f, source([f])) for f in photo_files(folder)[:MOST]]
    return tuple(Subject(f.name, photo, photo, 0, photo, noun="picture") for f, photo in alone)


def _under(prompt: str) -> tuple[str, ...]:
    """Return the protections, computed under a prompt."""
    # texts and not Methods: a protection's text is its label in results
    return tuple(f"{word}{',' if '=' in word else ':'}prompt={prompt}" for word in PROTECTIONS)


def _sdedit(kind: str, subjects: tuple[Subject, ...], name: Name) -> Table:
    """Return the table of SDEdit for a kind of pictures."""
    prompt = PROMPTS[kind]
    threats = tuple(
        threat_model(
            f"SDEdit {s:g}",
            f"sdedit:paper:strengths={s}",
            victim=name(SD14),
            prompts=(prompt,),
            dtype="float32",
        )
        for s in STRENGTHS
    )
    return Table(
        f"SDEdit, {kind}",
        _under(prompt),
        threats,
        subjects,
        _metrics(name),
        1,
        BUDGET,
        (name(SD14),),
        about=f'Edits under "{prompt}", compared with the edits of clean pictures.',
    )


def _inpainting(subjects: tuple[Subject, ...], name: Name) -> Table:
    """Return the table of inpainting."""
    painter = threat_model(
        "inpainting", "inpaint:paper", victim=name(INPAINTING), prompts=(PARTY,), dtype="float16"
    )
    about = f'The middle painted anew under "{PARTY}", by another model than the protector\'s.'
    return Table(
        "inpainting, portrait",
        _under(PROMPTS["portrait"]),
        (painter,),
        subjects,
        _metrics(name),
        1,
        BUDGET,
        (name(SD14),),
        about=about,
    )


def _inversion(subjects: tuple[Subject, ...], name: Name) -> Table:
    """Return the table of textual inversion."""
    inverter = threat_model(
        "textual inversion",
        "textual_inversion:paper",
        victim=name(SD14),
        prompts=(INVERTED,),
        pictures=16,
        dtype="float32",
    )
    metrics = (f"clip_i:clip={name(CLIP)}", f"clip_iqa:clip={name(CLIP)}", "brisque", "kid")
    return Table(
        "textual inversion",
        PROTECTIONS,
        (inverter,),
        subjects,
        metrics,
        1,
        BUDGET,
        (name(SD14),),
        about="The embedding of one new word learns half of each photo set.",
    )


def _metrics(name: Name) -> tuple[str, ...]:
    """Return the metrics of edits, with the models at hand."""
    return ("lpips", "ssim", "l2", f"clip_i:clip={name(CLIP)}")
