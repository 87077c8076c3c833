"""Budgets that follow the photo."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.spies import pixels_of
from PIL import Image
from torch import Tensor

from cloakwork import cli
from cloakwork.evaluation.design import NOISE, arms
from cloakwork.evaluation.photo_pairs import find_subjects
from cloakwork.evaluation.steps import Step
from cloakwork.perturbation import pgd
from cloakwork.photos.rounding import apply_perturbation
from cloakwork.photos.visibility import limits, noticeable
from cloakwork.state import RunState
from cloakwork.workflows.protect import protect


def drawing(n: int = 160) -> np.ndarray:
    """Return a drawing of a blue field and a black line on white, n x n x 3."""
    colours = np.full((n, n, 3), 255, np.uint8)
    colours[n // 8 : n // 2, n // 8 : -n // 8] = (40, 90, 200)
    colours[3 * n // 4 : 3 * n // 4 + 3, n // 8 : -n // 8] = 0
    return colours


def texture(n: int = 48) -> Tensor:
    """Return a photo that is flat on its left half and of strong noise on its right."""
    photo = torch.full((3, n, n), 0.5)
    rng = torch.Generator().manual_seed(0)
    photo[:, :, n // 2 :] += 0.25 * (2 * torch.rand(n, n // 2, generator=rng) - 1)
    return photo


def config(strength: str, budget: float = 11) -> SimpleNamespace:
    return SimpleNamespace(budget=budget, strength=strength)


def test_texture_hides_more_than_a_flat_area() -> None:
    most = noticeable(texture())[0]
    assert most[8:-8, 4:16].max() < 3
    assert most[8:-8, 32:44].median() > 6


@pytest.mark.parametrize(("level", "least", "most"), [(0.0, 7, 9), (0.5, 1.5, 2.5), (1.0, 4, 4.5)])
def test_brightness_hides_what_the_model_says(level: float, least: float, most: float) -> None:
    found = noticeable(torch.full((3, 16, 16), level))
    assert least < found.min()
    assert found.max() < most


def test_an_edge_hides_less_than_texture() -> None:
    edge = torch.zeros(3, 48, 48)
    edge[:, :, 24:] = 0.6
    assert noticeable(edge)[0, 8:-8, 30].max() < noticeable(texture())[0, 8:-8, 32:44].median()


def test_no_strength_goes_beyond_the_budget_or_below_another() -> None:
    faint, normal, strong = (
        limits([texture()], config(s, budget=7))[0] for s in ("faint", "normal", "strong")
    )
    assert isinstance(strong, Tensor)
    assert strong.max() == 7
    assert torch.all(torch.as_tensor(faint) <= torch.as_tensor(normal))
    assert torch.all(torch.as_tensor(normal) <= strong)


def test_uniform_is_the_budget_itself() -> None:
    assert limits([texture()], config("uniform")) == [11]
    assert limits([texture()], SimpleNamespace(budget=11)) == [11]  # of a module of one's own
    assert limits([texture()], config("normal", budget=0)) == [0]


def test_a_mask_leaves_the_rest_alone() -> None:
    mask = torch.zeros(1, 48, 48)
    mask[..., :24] = 1
    (limit,) = limits([texture()], config("uniform"), [mask])
    assert isinstance(limit, Tensor)
    assert limit[..., :24].min() == 11
    assert limit[..., 24:].max() == 0


def test_pgd_keeps_the_limits_of_every_pixel() -> None:
    photos, towards = [texture()], torch.randn(3, 48, 48, generator=torch.Generator())
    within = limits(photos, config("normal"))
    gradient = pgd.by_autograd(lambda x, which: (x[0] * towards).sum())
    (moved,) = pgd.ascend(
        photos,
        gradient,
        budget=11,
        step=None,
        steps=22,
        rng=torch.Generator(),
        random_start=True,
        state=RunState(limits=within),
    )
    change = 255 * (moved - photos[0]).abs()
    assert torch.all(change <= within[0] + 1e-3)
    assert (change / within[0]).min() > 0.99  # twenty steps of a tenth cross every box


def test_rounding_keeps_a_map_of_a_smaller_copy() -> None:
    photo = (texture(64) * 255).byte()
    limit = torch.full((1, 32, 32), 2.5)
    limit[..., :16] = 0.9
    saved = apply_perturbation(photo, torch.full((3, 32, 32), 0.1), limit)
    change = saved.int() - photo.int()
    assert change[..., :30].max() == 0
    assert change[..., 34:].unique().tolist() == [2]


def test_the_noise_beside_a_protection_follows_the_photo_as_it_does(
    sample_files: list[Path], tmp_path: Path
) -> None:
    protect(sample_files[:1], tmp_path, protection="noise", strength="faint", budget=7)
    (subject,) = find_subjects(tmp_path)
    noisy = arms(subject, seed=0)[NOISE]
    assert isinstance(noisy, Step)
    assert (noisy.config.budget, noisy.config.strength) == (7, "faint")


def test_a_drawing_is_changed_less_where_it_is_flat(tmp_path: Path) -> None:
    """By the command line: the saved file keeps the map of what may be changed, pixel by pixel."""
    file = tmp_path / "drawing.png"
    Image.fromarray(drawing()).save(file)
    change = {}
    for strength in ("faint", "uniform"):
        out = tmp_path / strength
        words = ["protect", str(file), "-o", str(out), "--protection", "learned"]
        assert cli.main([*words, "--strength", strength]) == 0
        change[strength] = np.abs(pixels_of(out / "drawing.png") - pixels_of(file))
    before = torch.from_numpy(pixels_of(file)).permute(2, 0, 1).float() / 255
    most = 0.5 * noticeable(before)[0].numpy()[..., None]
    assert (change["faint"] <= most + 1e-3).all()
    field, white = np.s_[30:70, 30:130], np.s_[90:110, 30:130]
    for flat in (field, white):
        faint, uniform = (change[strength][flat].mean() for strength in ("faint", "uniform"))
        assert 0 < faint < uniform / 2


def test_old_records_of_photoguard_are_read(sample_files: list[Path], tmp_path: Path) -> None:
    """They have a number by the name of strength, which meant something else."""
    protect(sample_files[:1], tmp_path, protection="noise", budget=7)
    path = tmp_path / ".cloakwork" / "record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"config": {"budget": 7, "strength": 0.7}}))
    (subject,) = find_subjects(tmp_path)
    assert (subject.budget, subject.strength) == (7, "uniform")
