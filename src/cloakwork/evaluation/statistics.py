"""Paired differences with intervals: photo sets are drawn again first, then seeds, then pictures.

Pictures of one person resemble each other, and so do results of one seed: an interval over pictures
alone would be far too narrow (Efron and Tibshirani 1993, the bootstrap by levels). Beside it stands
a sign-flip test over the largest level that has more than one member.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

DRAWS = 2000
EXACT = 12  # units; up to 2^12 flips are counted one by one
MOST = 4_000_000  # numbers drawn at once
FEWEST_SETS = 6  # photo sets; below, a result is called indicative

# photo set -> seed -> one score a picture (NaN: unscored); every set and seed may have its own
# number of pictures
Scores = Mapping[str, Mapping[int, Sequence[float]]]


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, and what it rests on. NaN where nothing was scored."""

    mean: float
    low: float
    high: float
    sets: int
    seeds: int
    pictures: int
    """scored, over all sets and seeds"""
    p: float | None = None
    """of the sign-flip test, for a difference"""
    unit: str = ""
    """what the sign-flip test flips: "photo set", "seed" or "picture" """


def estimate(scores: Scores) -> Estimate:
    """Estimate the mean over photo sets of the means over seeds of the means over pictures.

    >>> estimate({"one set": {0: [1.0, 0.0], 1: [1.0, 1.0]}}).mean
    0.75
    """
    cells = _cells(scores)
    return Estimate(_mean(cells), *_interval(cells), *_counts(cells))


def difference(after: Scores, before: Scores) -> Estimate:
    """Estimate after - before, paired picture by picture; leave out pairs in which either is
    unscored.

    >>> found = difference({"one set": {0: [0.5, 0.25]}}, {"one set": {0: [0.25, 0.0]}})
    >>> found.mean, found.unit, found.pictures
    (0.25, 'picture', 2)

    Raises:
        ValueError: sets, seeds or numbers of pictures differ.
    """
    first, second = (
        {s: {k: len(v) for k, v in seeds.items()} for s, seeds in scores.items()}
        for scores in (after, before)
    )
    if first != second:
        raise ValueError(
            f"Only scores of the same sets, seeds and pictures can be paired: {first} and {second}."
        )
    gaps = {
        s: {k: list(np.subtract(v, before[s][k])) for k, v in seeds.items()}
        for s, seeds in after.items()
    }
    cells = _cells(gaps)
    units, unit = _units(cells)
    return Estimate(
        _mean(cells),
        *_interval(cells),
        *_counts(cells),
        # a PSNR of equal pictures is infinite: there is no telling how far that lies from 0
        p=sign_flip(units) if units and np.isfinite(units).all() else None,
        unit=unit,
    )


def sign_flip(units: Sequence[float]) -> float:
    """Return the two-sided p: the share of all ways to flip the units' signs whose mean lies at
    least as far from 0 as the one found.

    >>> sign_flip([1, 1, 1]), sign_flip([1, -1])
    (0.25, 1.0)
    """
    # `scipy.stats.permutation_test` would draw other flips, and ten lines ask for no dependency
    values = np.asarray(units, float)
    n = len(values)
    if n <= EXACT:
        signs = np.array(list(product((-1, 1), repeat=n)))
    else:
        signs = np.vstack([np.ones(n), np.random.default_rng(0).choice((-1, 1), (10_000, n))])
    return float((abs(signs @ values) >= abs(values.sum()) - 1e-12).mean())


def _cells(scores: Scores) -> list[list[np.ndarray]]:
    """Return the scored pictures set by set, seed by seed; leave out what has none."""
    sets = []
    for seeds in scores.values():
        arrays = [np.asarray(v, float) for v in seeds.values()]
        scored = [a[~np.isnan(a)] for a in arrays]
        if scored := [a for a in scored if len(a)]:
            sets.append(scored)
    return sets


def _mean(cells: list[list[np.ndarray]]) -> float:
    if not cells:
        return math.nan
    return float(np.mean([np.mean([a.mean() for a in seeds]) for seeds in cells]))


def _interval(cells: list[list[np.ndarray]]) -> tuple[float, float]:
    if not cells:
        return math.nan, math.nan
    shapes = {tuple(len(pictures) for pictures in seeds) for seeds in cells}
    even = len(shapes) == 1 and len(set(*shapes)) == 1
    means = _even_means(np.array(cells)) if even else _means(cells)
    low, high = np.percentile(means, [2.5, 97.5], method="nearest")
    return float(low), float(high)


def _means(cells: list[list[np.ndarray]]) -> list[float]:
    """Return the means of DRAWS tables drawn anew: sets, a set's seeds, then their pictures."""
    draw = np.random.default_rng(0)
    return [
        _mean([list(_again(seeds, draw)) for seeds in _pick(cells, draw)]) for _ in range(DRAWS)
    ]


def _even_means(cells: np.ndarray) -> np.ndarray:
    """Return what `_means` does, fifty times as fast, where all sets have as many seeds and all
    seeds as many pictures.

    There each draw takes the same number of indices with the same bounds from the random stream, so
    they can all be taken at once, in the order in which `_means` takes them. In ragged tables the
    set that was drawn decides how many indices follow it, which only a loop can do, and for even
    ones the loop would be too slow.

    Args:
        cells: sets x seeds x pictures.
    """
    sets, seeds, pictures = cells.shape
    bounds = np.concatenate(
        [[sets] * sets, np.tile([seeds] * seeds + [pictures] * seeds * pictures, sets)]
    )
    draw, means, at_once = np.random.default_rng(0), [], max(1, MOST // len(bounds))
    for start in range(0, DRAWS, at_once):
        n = min(at_once, DRAWS - start)
        indices = draw.integers(0, np.broadcast_to(bounds, (n, len(bounds))))
        which, of_sets = indices[:, :sets], indices[:, sets:].reshape(n, sets, -1)
        seed, picture = of_sets[..., :seeds], of_sets[..., seeds:]
        drawn = cells[
            which[..., None, None],
            seed[..., None],
            picture.reshape(n, sets, seeds, pictures),
        ]
        means.append(drawn.mean(3).mean(2).mean(1))
    return np.concatenate(means)


def _again(seeds: list[np.ndarray], draw: np.random.Generator) -> Iterator[np.ndarray]:
    for pictures in _pick(seeds, draw):
        yield pictures[draw.integers(0, len(pictures), len(pictures))]


def _pick(items: list, draw: np.random.Generator) -> list:
    return [items[i] for i in draw.integers(0, len(items), len(items))]


def _counts(cells: list[list[np.ndarray]]) -> tuple[int, int, int]:
    return (
        len(cells),
        max((len(s) for s in cells), default=0),
        sum(len(a) for s in cells for a in s),
    )


def _units(cells: list[list[np.ndarray]]) -> tuple[list[float], str]:
    """Return what is flipped: differences of whole photo sets if there are several, else of seeds,
    else of pictures.
    """
    if len(cells) > 1:
        return [float(np.mean([a.mean() for a in seeds])) for seeds in cells], "photo set"
    if cells and len(cells[0]) > 1:
        return [float(a.mean()) for a in cells[0]], "seed"
    return ([float(v) for v in cells[0][0]], "picture") if cells else ([], "")
