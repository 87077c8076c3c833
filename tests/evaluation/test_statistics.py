"""Paired differences: closed forms, pairing, levels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cloakwork.evaluation import statistics
from cloakwork.evaluation.statistics import difference, estimate, sign_flip


def table(
    sets: int, seeds: int, pictures: int, shift: float = 0.0, spread: float = 0.0
) -> dict[str, dict[int, list[float]]]:
    draw = np.random.default_rng(5)
    return {
        f"set {s}": {
            k: [float(v) for v in shift + spread * s + draw.normal(0, 1, pictures)]
            for k in range(seeds)
        }
        for s in range(sets)
    }


def test_a_mean_is_taken_level_by_level() -> None:
    """A set with many pictures counts no more than one with few."""
    found = estimate({"a": {0: [1.0] * 30}, "b": {0: [0.0], 1: [0.0]}})
    assert found.mean == 0.5
    assert (found.sets, found.seeds, found.pictures) == (2, 2, 32)


def test_the_interval_of_pictures_has_the_width_of_the_standard_error() -> None:
    """One set, one seed: an ordinary bootstrap of the mean, 1.96 standard errors to either side."""
    found = estimate(table(1, 1, 400))
    assert found.high - found.low == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.15)


def test_sets_that_differ_widen_the_interval_and_more_pictures_do_not_narrow_it() -> None:
    alike, apart = estimate(table(6, 1, 200)), estimate(table(6, 1, 200, spread=1.0))
    assert apart.high - apart.low > 5 * (alike.high - alike.low)
    many = estimate(table(6, 1, 2000, spread=1.0))
    assert many.high - many.low == pytest.approx(apart.high - apart.low, rel=0.15)


def test_pairing_removes_what_pictures_have_in_common() -> None:
    before = table(6, 2, 8, spread=3.0)
    after = {
        s: {k: [v - 0.5 for v in row] for k, row in seeds.items()} for s, seeds in before.items()
    }
    found = difference(after, before)
    assert found.mean == pytest.approx(-0.5) and found.high == pytest.approx(-0.5)
    assert found.p == pytest.approx(2 / 2**6) and found.unit == "photo set"


def test_no_difference_is_none() -> None:
    same = table(6, 2, 8)
    found = difference(same, same)
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_unscored_pictures_leave_with_their_partner() -> None:
    found = difference({"a": {0: [1.0, math.nan, 5.0]}}, {"a": {0: [0.0, 9.0, math.nan]}})
    assert found.mean == 1.0 and found.pictures == 1


def test_nothing_scored_is_nan_not_zero() -> None:
    found = difference({"a": {0: [math.nan]}}, {"a": {0: [0.0]}})
    assert math.isnan(found.mean) and found.pictures == 0 and found.p is None


def test_only_the_same_sets_seeds_and_pictures_pair() -> None:
    with pytest.raises(ValueError, match="can be paired"):
        difference({"a": {0: [1.0]}}, {"a": {0: [1.0, 2.0]}})


@pytest.mark.parametrize(
    ("values", "p"), [([1.0], 1.0), ([1, 1, 1], 0.25), ([1, 2, 3, 4, 5, 6], 2 / 64), ([1, -1], 1.0)]
)
def test_sign_flips_counted_by_hand(values: list[float], p: float) -> None:
    assert sign_flip(values) == pytest.approx(p)


def test_many_units_are_drawn_and_stay_near_the_exact_answer() -> None:
    values = [1.0, 1.0, -1.0] * 5  # 10 against 5: two-sided binomial tail
    exact = 2 * sum(math.comb(15, k) for k in range(10, 16)) / 2**15
    assert sign_flip(values) == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("shape", [(6, 1, 16), (6, 2, 8), (1, 3, 5), (1, 1, 7), (3, 2, 1)])
def test_the_quick_way_draws_what_the_slow_one_draws(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = np.random.default_rng(1).normal(0, 1, shape)
    slow = statistics._means([list(seeds) for seeds in cells])
    assert np.allclose(statistics._even_means(cells), slow, rtol=0, atol=1e-12)
    monkeypatch.setattr(statistics, "MOST", 1000)
    assert np.allclose(statistics._even_means(cells), slow, rtol=0, atol=1e-12), "in parts"


def test_infinite_differences_have_no_p() -> None:
    found = difference({"a": {0: [math.inf]}, "b": {0: [1.0]}}, {"a": {0: [1.0]}, "b": {0: [1.0]}})
    assert found.p is None
