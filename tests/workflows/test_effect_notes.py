"""What `protect` says of a protection's measured effect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from cloakwork import registry
from cloakwork.models.faces import Face
from cloakwork.specs import Method, method
from cloakwork.workflows import face_masks, protect
from cloakwork.workflows.effect_notes import effect_notes


def note(text: str, surrogates: tuple[str, ...] = ("tiny",), **settings: Any) -> str:
    return " ".join(effect_notes(method("protections", text, settings=settings), surrogates))


def test_an_effect_that_was_not_found_is_told() -> None:
    assert note("pid", budget=6.4) == (
        "At a budget of 6.4 pid was measured on tiny against three attackers with the photos of "
        "six people, and no effect was found."
    )
    assert note("simac", budget=6.4).endswith(
        "and against one of them no effect was found: JPEG 75."
    )


def test_a_strength_without_effect_is_named() -> None:
    assert note("pid", strength="faint") == (
        "At a budget of 11 and strength faint pid was measured on tiny against one attacker with "
        "the photos of six people, and no effect was found."
    )
    assert note("pid", strength="strong") == ""


def test_a_good_result_needs_no_words() -> None:
    assert note("simac") == ""


def test_what_removes_it_is_told() -> None:
    said = note(registry.DEFAULT_PROTECTION)
    assert said.startswith(f"At a budget of 11 {registry.DEFAULT_PROTECTION} was measured on tiny")
    assert said.endswith("and against one of them no effect was found: after Real-ESRGAN.")
    assert note("pid").endswith(
        "and against four of them no effect was found: after Real-ESRGAN; after GrIDPure; "
        "after JPEG 75 and a resize to half the size; after a network that has learned to undo pid."
    )
    assert "after Real-ESRGAN; after Real-ESRGAN, CDL; after GrIDPure;" in note("strongest")


@pytest.mark.parametrize(
    ("text", "settings", "surrogates", "says"),
    [
        ("dct_shield", {"budget": 4.0}, ("tiny",), "at a budget of 4 was never measured."),
        ("pid", {"steps": 7}, ("tiny",), "was never measured with these settings."),
        ("pid", {}, ("tiny-b",), "was never measured against tiny-b."),
        ("pid", {}, ("tiny", "tiny-b"), "was never measured against tiny and tiny-b."),
    ],
)
def test_what_was_never_measured_is_told(
    text: str, settings: dict[str, Any], surrogates: tuple[str, ...], says: str
) -> None:
    assert note(text, surrogates, **settings).endswith(says)


def test_photos_that_changed_in_part_have_no_verdict(
    sample_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the good one of whole photos nor the bad one."""
    for text, budget in (("simac", 11.0), ("pid", 6.4)):
        asked = method("protections", text, settings={"budget": budget})
        assert effect_notes(asked, ("tiny",), "around faces") == [
            f"{text} at a budget of {budget:g} was measured where photos change everywhere, and "
            "never only around faces."
        ]
    Image.new("L", Image.open(sample_files[0]).size, 255).save(tmp_path / "mask.png")
    face = Face(1024.0, 1.0, torch.zeros(128), (32, 32, 64, 64))
    detector = SimpleNamespace(find=lambda x: [face])
    monkeypatch.setattr(face_masks, "load_faces", lambda: detector)
    for mask, where in ((tmp_path / "mask.png", "within a mask."), (None, "around faces.")):
        out = tmp_path / where.replace(" ", "-")
        records = protect.protect(
            sample_files[0], out, protection="learned", mask=mask, faces=mask is None
        )
        assert records.summary.notes[-1].endswith(where)


def test_controls_and_others_methods_have_no_note() -> None:
    assert note("noise") == note("none") == note("pid", budget=0.0) == ""


def test_the_note_comes_once_and_last(sample_files: list[Path], tmp_path: Path) -> None:
    config = replace(registry.config(registry.load("protections", "pid"), "tiny"), steps=1)
    records = protect.protect(
        sample_files[:2], tmp_path, protection=Method("protections", "pid", config), each=True
    )
    (said,) = effect_notes(Method("protections", "pid", config), ("tiny",))
    assert [said in r.notes for r in records] == [False, True]
    assert records.summary.notes[-1] == said
