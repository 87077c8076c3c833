"""What a page asks for, checked and made a job; and what it is shown of a job."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloakwork import registry
from cloakwork.errors import UserError
from cloakwork.files import hash_of
from cloakwork.web.jobs import Job
from cloakwork.web.pages import Page
from cloakwork.web.uploads import without_folder
from cloakwork.workflows.defaults import QUICK_ATTACKER, TRIED_PURIFIERS

STRENGTHS = ("faint", "normal", "strong", "uniform")  # types.Strength, whose module loads torch
FORMATS = {"png": ".png", "same": "same"}
WHICH = ("before", "after")  # pictures
LONGEST_PROMPT = 200  # letters


@dataclass(frozen=True)
class Methods:
    """What is computed, each with its settings as on the command line."""

    quick: str = registry.DEFAULT_PROTECTION
    strongest: str = registry.STRONGEST_PROTECTION
    preview: str = f"{registry.DEFAULT_PROTECTION}:steps=12"
    attacker: str = "sdedit:tiny"
    purifiers: tuple[str, ...] = TRIED_PURIFIERS
    coders: tuple[str, ...] = ("all",)
    auditor: str = QUICK_ATTACKER


def job_of(question: Mapping[str, Any], page: Page, methods: Methods) -> Job:
    """Return the job that a page asks for.

    Raises:
        UserError: there is no such job, or nothing to do it with.
    """
    kind = question.get("kind")
    if kind == "edit":
        asked = _edit(question, page, methods)
    elif kind == "left":
        number, photo = _protected(question, page)
        asked = {
            "file": photo["file"],
            "purifiers": methods.purifiers,
            "coders": methods.coders,
            "number": number,
        }
    elif kind == "audit":
        _protected({"number": 0}, page)
        asked = {"protected": page.jobs["protect"].question["out"], "attacker": methods.auditor}
    elif kind in ("protect", "preview", "estimate"):
        asked = _protection(question, page, methods)
    else:
        raise UserError(f"There is no job {kind!r}.")
    # the same question again goes on from where it was stopped
    name = hash_of([asked, list(page.photos)]) if kind == "protect" else secrets.token_hex(16)
    folder = page.folder / f"{kind}-{name[:16]}"
    return Job(kind, asked | {"out": str(folder)}, page.changed)


def folder_of(job: Job) -> Path:
    """Return the folder that a job writes to."""
    return Path(job.question["out"])


def _protection(question: Mapping[str, Any], page: Page, methods: Methods) -> dict[str, Any]:
    """Return what `work.protect_photos`, `preview` or `estimate_time` is asked."""
    if not page.photos:
        raise UserError("There are no photos yet; choose some first.")
    strength = _one_of(question, "strength", STRENGTHS)
    if question["kind"] == "estimate":
        both = {"quick": methods.quick, "strongest": methods.strongest}
        return {"photos": str(page.inbox), "protections": both, "strength": strength}
    if question["kind"] == "preview":
        photo = page.photos.get(str(question.get("photo")))
        photo = photo or min(page.photos.values(), key=lambda photo: photo.name.casefold())
        return {
            "photo": str(photo.path),
            "name": photo.name,
            "protection": methods.preview,
            "strength": strength,
        }
    choice = _one_of(question, "choice", ("quick", "strongest"))
    return {
        "photos": str(page.inbox),
        "protection": asdict(methods)[choice],
        "strength": strength,
        "suffix": FORMATS[_one_of(question, "format", tuple(FORMATS))],
        "strip_gps": question.get("places") is not True,
    }


def _edit(question: Mapping[str, Any], page: Page, methods: Methods) -> dict[str, Any]:
    """Return what `work.edit` is asked."""
    (number, photo), prompt = _protected(question, page), question.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > LONGEST_PROMPT:
        raise UserError(f"Say in 1 to {LONGEST_PROMPT} letters what the picture is to show.")
    return {
        "before": photo["before"],
        "after": photo["after"],
        "attacker": methods.attacker,
        "prompt": prompt.strip(),
        "number": number,
    }


def _protected(question: Mapping[str, Any], page: Page) -> tuple[int, dict[str, Any]]:
    """Return the number of the protected photo that is meant, and what is known of it."""
    job = page.jobs.get("protect")
    photos = job.answer["photos"] if job is not None and job.state == "done" else []
    number = question.get("number")
    if not isinstance(number, int) or not 0 <= number < len(photos):
        raise UserError("There is no such protected photo; protect some first.")
    return number, photos[number]


def _one_of(question: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    """Return a choice.

    Raises:
        UserError: it is not one of those that are allowed.
    """
    if (given := question.get(name)) not in allowed:
        raise UserError(f"The {name} is {given!r}; allowed are {', '.join(allowed)}.")
    return given


def pictures(job: Job) -> list[dict[str, Any]]:
    """Return the pairs of pictures that a job has made, with their files."""
    if job.state != "done":
        return []
    lists = {"protect": "photos", "edit": "rows", "audit": "sheets"}
    if job.kind in lists:
        return job.answer[lists[job.kind]]
    return [job.answer] if job.kind == "preview" else []


def shown(job: Job, page: Page) -> dict[str, Any]:
    """Return what a page may see of a job: addresses in the place of files."""
    found = {
        "id": job.id,
        "state": job.state,
        "progress": job.progress,
        "faults": without_folder(without_folder(job.faults, page.inbox), folder_of(job)),
        "strength": job.question.get("strength"),
        "name": job.question.get("name"),
    }
    if job.state != "done":
        return found
    pairs = [
        {k: v for k, v in pair.items() if k not in ("file", *WHICH)}
        | {which: f"/jobs/{job.id}/pictures/{i}/{which}" for which in WHICH if which in pair}
        for i, pair in enumerate(pictures(job))
    ]
    rest = {k: v for k, v in job.answer.items() if k not in ("photos", "rows", "sheets", *WHICH)}
    return found | {"answer": rest, "pairs": pairs}
