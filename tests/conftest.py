"""What all tests share: the trained embedded model, photos of odd sizes, a cache folder of their
own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import small_model
from helpers.spies import Step
from PIL import Image

from cloakwork.files import SAMPLE_PHOTOS
from cloakwork.models import ldm, loading
from cloakwork.perturbation import pgd
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float
from cloakwork.types import Photos


@pytest.fixture(scope="session", autouse=True)
def one_thread(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Another number of threads changes the bytes of a gradient."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache folder for the whole run, whose workers share class pictures and surrogates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOAKWORK_CACHE", str(of_all_workers(tmp_path_factory) / "cache"))
        yield


def of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.getbasetemp()
    return run.parent if "PYTEST_XDIST_WORKER" in os.environ else run


@pytest.fixture(scope="session")
def tiny() -> ldm.LDM:
    """The trained embedded model, for what rests on its weights."""
    return loading.load("tiny", "cpu")


@pytest.fixture(scope="session")
def small_name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of `small`, to be named where a model is named."""
    return str(small_model.save(of_all_workers(tmp_path_factory) / "small"))


@pytest.fixture(scope="session")
def small(small_name: str) -> ldm.LDM:
    """A model with random weights and a tenth of tiny's arithmetic, for what holds at any
    weights."""
    return loading.load(small_name, "cpu")


@pytest.fixture(scope="session")
def sample_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three real photos, made small: one wide, one tall, one square."""
    folder = tmp_path_factory.mktemp("samples")
    files = []
    for path, size in zip(
        sorted(SAMPLE_PHOTOS.glob("*.*g")), [(168, 128), (128, 150), (128, 128)], strict=False
    ):
        target = folder / f"{path.stem}.png"
        Image.open(path).convert("RGB").resize(size, Image.Resampling.LANCZOS).save(target)
        files.append(target)
    return files


@pytest.fixture(scope="session")
def photos(sample_files: list[Path]) -> Photos:
    return [as_float(load_photo(f).pixels) for f in sample_files]


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture
def first_gradient(monkeypatch: pytest.MonkeyPatch) -> list[Photos]:
    """Collects the gradients that the PGD loop computes."""
    seen: list[Photos] = []
    original = pgd.ascend

    def spy(x0: Photos, gradient: pgd.Gradient, **how: Any) -> Photos:
        def watched(x: Photos, which: list[int]) -> tuple[float, Photos]:
            value, grads = gradient(x, which)
            seen.append(grads)
            return value, grads

        return original(x0, watched, **how)

    monkeypatch.setattr(pgd, "ascend", spy)
    return seen


@pytest.fixture
def square(photos: Photos) -> Photos:
    """Three photos of the model's own size, so that no loader has anything to cut."""
    return [p[:, :128, :128].contiguous() for p in photos]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Collects what the PGD loop does."""
    seen: list[Step] = []
    original = pgd.ascend

    def spy(x0: Photos, gradient: pgd.Gradient, **how: Any) -> Photos:
        def watched(x: Photos, which: list[int]) -> tuple[float, Photos]:
            before = how["rng"].get_state()
            value, grads = gradient(x, which)
            seen.append(Step(before, [p.clone() for p in x], grads))
            return value, grads

        return original(x0, watched, **how)

    monkeypatch.setattr(pgd, "ascend", spy)
    return seen
