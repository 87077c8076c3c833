"""A benchmark's protections take encoders alone as `protect` does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import small_autoencoders

from cloakwork import specs
from cloakwork.errors import UserError
from cloakwork.evaluation import compute
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Step, Workspace, name_of
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float
from cloakwork.workflows.protect import protect


@pytest.fixture
def source(sample_files: list[Path]) -> Source:
    return Source((sample_files[2],), (load_photo(sample_files[2]).digest,))


def test_a_step_gives_the_bytes_of_protect(source: Source, small_name: str, tmp_path: Path) -> None:
    names = (str(small_autoencoders.save("sana", tmp_path / "sana")), small_name)
    method = specs.parse("protections", "pid:tiny:steps=2")
    workspace = Workspace(tmp_path / "store", "cpu")
    (photo,) = compute.photos(Step(method, (source,), models=names), workspace)
    (record,) = protect(
        source.files[0], tmp_path / "out", protection=method, surrogates=names, device="cpu"
    )
    assert torch.equal(photo, as_float(load_photo(record.photos[0].output).pixels))


def test_other_sizes_are_another_step(source: Source, tmp_path: Path) -> None:
    vae, workspace, method = (
        small_autoencoders.make("sd"),
        Workspace(tmp_path / "store", "cpu"),
        specs.parse("protections", "pid:tiny"),
    )
    folders = []
    for size in (256, 512):
        vae.register_to_config(sample_size=size)
        vae.save_pretrained(tmp_path / str(size))
        folders.append(str(tmp_path / str(size)))
    first, second = (name_of(Step(method, (source,), models=(f,)), workspace) for f in folders)
    assert first != second


def test_a_protection_that_needs_a_whole_model_says_so(source: Source, tmp_path: Path) -> None:
    names = (str(small_autoencoders.save("tiny", tmp_path / "tiny")),)
    step = Step(specs.parse("protections", "aspl:tiny"), (source,), models=names)
    with pytest.raises(UserError, match="'aspl' needs a whole model here"):
        compute.photos(step, Workspace(tmp_path / "store", "cpu"))
