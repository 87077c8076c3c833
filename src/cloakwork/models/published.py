"""Families of whole models for people: what each is a folder of, and what of it is at hand."""

from __future__ import annotations

from collections.abc import Sequence

from cloakwork.errors import UserError
from cloakwork.models import hub, pipelines
from cloakwork.models.families.family import Family
from cloakwork.models.file_layouts import LAYOUTS
from cloakwork.models.latent_spaces import SPACES, OnHub

# A published model of a family, and the size of what is fetched of it: its numbers as counted in
# results/families.json, as long each as those of its autoencoder. Z-Image's length is not known.
PUBLISHED = {
    "Stable Diffusion 1.x and 2.x": OnHub(SPACES["sd"].full.id, 4_265),
    "Stable Diffusion XL": OnHub(SPACES["sdxl"].full.id, 13_875),
    "Stable Diffusion 3 and 3.5": OnHub(SPACES["sd3"].full.id, 15_815),
    "FLUX.1": OnHub(SPACES["flux"].full.id, 33_740),
    "FLUX.2 klein": OnHub(SPACES["flux2"].full.id, 15_964),
    "Qwen-Image": OnHub(SPACES["qwen"].full.id, 57_699),
}


def offers() -> list[tuple[str, str]]:
    """Return every family's name, and what is to be said of it in a list; the hub is not asked."""
    here = _at_hand()
    return [
        (family.NAME, f"{_kinds(family)}; {_where(family, here.get(family.NAME, []))}")
        for family in pipelines.FAMILIES
    ]


def _at_hand() -> dict[str, list[str]]:
    """Return the hub ids of which a whole copy is on this machine, by the family's name."""
    found: dict[str, list[str]] = {}
    for name in hub.copies():
        try:
            copy = pipelines.copy_of(name)
        except UserError:  # of another family
            continue
        if copy:
            found.setdefault(copy[1].NAME, []).append(name)
    return found


def _kinds(family: Family) -> str:
    """Return what models of a family may lie in."""
    pipes = " or ".join(dict.fromkeys([family.PIPELINE, *family.EDITORS]))
    in_files = any(layout.family is family for layout in LAYOUTS)
    return f"folder of {pipes}{', or one file' * in_files}"


def _where(family: Family, copies: Sequence[str]) -> str:
    """Return where models of a family are, or would come from."""
    if copies:
        return f"on this machine: {', '.join(copies)}"
    if family.NAME not in PUBLISHED:
        return "none of the hub's on this machine"
    one = PUBLISHED[family.NAME]
    return f"naming {one.id} fetches it, about {one.megabytes / 1000:.2g} GB"
