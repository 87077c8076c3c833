"""Steps: what decides a key, what a step draws, how photos are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from cloakwork.benchmark.grids import Grid, Table, people, targets, threat_model
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.sources import Source, source
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.models import hub
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float
from cloakwork.protections import advdm, photoguard, pid
from cloakwork.purifiers import blur, codesr, noise
from cloakwork.specs import Method


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two photos of middle grey, of which one is a little brighter."""
    for k, level in enumerate((120, 130)):
        Image.new("RGB", (96, 72), (level,) * 3).save(tmp_path / f"{k}.png")
    return sorted(tmp_path.glob("*.png"))


def test_purifiers_draw_the_same_for_every_arm_and_anew_in_a_chain(
    files: list[Path], tmp_path: Path
) -> None:
    workspace, cfg = Workspace(tmp_path / "store", "cpu"), noise.Config(sigma=0.05)
    dark, bright = (Step(Method("purifiers", "noise", cfg), (source([f]),)) for f in files)
    once = [
        (compute.photos(s, workspace)[0] - compute.photos(s.inputs[0], workspace)[0]) * 255
        for s in (dark, bright)
    ]
    assert torch.allclose(*once, atol=1e-3) and once[0].abs().mean() > 5
    twice = Step(Method("purifiers", "noise", cfg), (dark,))
    more = (compute.photos(twice, workspace)[0] - compute.photos(dark, workspace)[0]) * 255
    assert (more - once[0]).abs().mean() > 5, "the second one adds noise of its own"


def test_photos_are_read_no_larger_than_the_source_says(
    files: list[Path], sample_files: list[Path], tmp_path: Path
) -> None:
    whole, small = source(sample_files), source(sample_files, 64)
    for file, big, little in zip(whole.files, whole.photos(), small.photos(), strict=True):
        assert torch.equal(big, as_float(load_photo(file).pixels)) and min(little.shape[-2:]) == 64
        assert torch.equal(little, little.mul(255).round() / 255), "a file has 8 bits"
        assert little.shape[-1] / little.shape[-2] == pytest.approx(
            big.shape[-1] / big.shape[-2], abs=0.02
        )
    workspace = Workspace(tmp_path, "cpu")
    assert steps.key(whole, workspace) != steps.key(small, workspace)
    assert min(source(files[:1], 640).photos()[0].shape[-2:]) == 72, "none is made larger"


def test_people_may_publish_small_photos(sample_files: list[Path], tmp_path: Path) -> None:
    for part in ("set_A", "set_B"):
        (tmp_path / "p" / part).mkdir(parents=True)
        Image.open(sample_files[0]).save(tmp_path / "p" / part / "a.png")
    ((person,), (small,)) = people(tmp_path), people(tmp_path, side=64)
    assert (
        small.clean.side == 64
        and small.references == person.references
        and small.references.side == person.clean.side
    )


def test_a_tables_precision_is_its_surrogates(files: list[Path], tmp_path: Path) -> None:
    subjects = tuple(Subject(f.stem, source([f]), source([f]), 0, source([f])) for f in files)
    workspace, keys = Workspace(tmp_path, "cpu"), set()
    for dtype in ("float32", "bfloat16"):
        table = Table("lab", ("advdm",), (threat_model("plain"),), subjects[:1], dtype=dtype)
        (protect,) = {
            s
            for step in targets(Grid("lab", "", (table,)))
            for s in _all(step)
            if s.name == "advdm"
        }
        assert protect.dtype == dtype
        keys.add(steps.key(protect, workspace))
    assert len(keys) == 2


def test_less_memory_is_asked_of_the_models_and_in_no_key(
    files: list[Path], tmp_path: Path, small_name: str
) -> None:
    spared, usual = (Workspace(tmp_path, "cpu", low_memory=less) for less in (True, False))
    assert spared.model(small_name).low_memory and not usual.model(small_name).low_memory
    method = Method("protections", "pid", pid.PRESETS["tiny"])
    step = Step(method, (source(files),), models=(small_name,))
    assert steps.key(step, spared) == steps.key(step, usual)


def test_grey_photos_have_keys_of_their_own(
    files: list[Path], sample_files: list[Path], tmp_path: Path
) -> None:
    """They are protected in another way than they once were; photos with colours are not."""
    workspace = Workspace(tmp_path, "cpu")
    colours, mixed = source(sample_files[:1]), source([sample_files[0], files[0]])
    assert not colours.grey and mixed.grey
    for photos, differs in ((colours, False), (mixed, True)):
        method = Method("protections", "advdm", advdm.Config())
        told, untold = (
            steps.key(Step(method, (s,), models=("tiny",)), workspace)
            for s in (photos, replace(photos, grey=False))
        )
        assert (told != untold) == differs
        blurred = Step(Method("purifiers", "blur", blur.Config()), (photos,))
        assert "grey" not in steps._key_parts(blurred, workspace)
        assert Step(method, (blurred,)).grey == differs, "what began grey may still be"


def _all(step: Step) -> list[Step]:
    return [step, *(s for i in step.dependencies for s in _all(i))]


def test_a_target_counts_by_its_content(files: list[Path], tmp_path: Path) -> None:
    clean, keys = Source(tuple(files), ("a", "b")), []
    for level in (10, 200):
        Image.new("RGB", (64, 64), (level,) * 3).save(tmp_path / "target.jpg")
        cfg = photoguard.Config(target=str(tmp_path / "target.jpg"))
        keys.append(
            steps.key(
                Step(Method("protections", "photoguard", cfg), (clean,), models=("tiny",)),
                Workspace(tmp_path / "store", "cpu"),
            )
        )
    assert keys[0] != keys[1]


def test_networks_that_a_purifier_finds_by_itself_count(tmp_path: Path) -> None:
    weights = tmp_path / "codeformer.safetensors"
    weights.write_bytes(b"one")
    first = codesr.instrument(codesr.Config(codeformer=str(weights)))
    weights.write_bytes(b"two")
    assert (
        first
        != codesr.instrument(codesr.Config(codeformer=str(weights)))
        != codesr.instrument(codesr.Config())
    )
    assert (
        "realesrgan" in first
        and hub.identity("owner/name") == "owner/name"
        and hub.identity("") == ""
    )
