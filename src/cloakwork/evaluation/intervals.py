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
    """The mean over photo sets of the means over seeds of the means over pictures."""
    cells = _cells(scores)
    return Estimate(_mean(cells), *_interval(cells), *_counts(cells))


def difference(after: Scores, before: Scores) -> Estimate:
    """after - before, paired picture by picture; pairs in which either is unscored are left out.

    Raises:
        ValueError: sets, seeds or numbers of pictures differ.
    """
    shape = [
        {s: {k: len(v) for k, v in seeds.items()} for s, seeds in table.items()}
        for table in (after, before)
    ]
    if shape[0] != shape[1]:
        raise ValueError(
            f"Only scores of the same sets, seeds and pictures can be paired: {shape[0]} and {shape[1]}."
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
        p=sign_flip(units) if units else None,
        unit=unit,
    )


def sign_flip(units: Sequence[float]) -> float:
    """Two-sided p: share of all ways to flip the units' signs whose mean lies at least as far from
    0 as the one found.
    """
    values = np.asarray(units, float)
    n = len(values)
    if n <= EXACT:
        signs = np.array(list(product((-1, 1), repeat=n)))
    else:
        signs = np.vstack([np.ones(n), np.random.default_rng(0).choice((-1, 1), (10_000, n))])
    return float((abs(signs @ values) >= abs(values.sum()) - 1e-12).mean())


def _cells(scores: Scores) -> list[list[np.ndarray]]:
    """Set by set, seed by seed, the scored pictures; what has none is left out."""
    sets = []
    for seeds in scores.values():
        arrays = [np.asarray(v, float) for v in seeds.values()]
        kept = [a[~np.isnan(a)] for a in arrays]
        if kept := [a for a in kept if len(a)]:
            sets.append(kept)
    return sets


def _mean(cells: list[list[np.ndarray]]) -> float:
    return (
        float(np.mean([np.mean([a.mean() for a in seeds]) for seeds in cells]))
        if cells
        else math.nan
    )


def _interval(cells: list[list[np.ndarray]]) -> tuple[float, float]:
    if not cells:
        return math.nan, math.nan
    shapes = {tuple(len(pictures) for pictures in seeds) for seeds in cells}
    even = len(shapes) == 1 and len(set(*shapes)) == 1
    low, high = np.percentile(
        _even_means(np.array(cells)) if even else _means(cells), [2.5, 97.5], method="nearest"
    )
    return float(low), float(high)


def _means(cells: list[list[np.ndarray]]) -> list[float]:
    draw = np.random.default_rng(0)
    return [
        _mean([list(_again(seeds, draw)) for seeds in _pick(cells, draw)]) for _ in range(DRAWS)
    ]


def _even_means(cells: np.ndarray) -> np.ndarray:
    """The very draws of `_means`, fifty times as fast, where all sets have as many seeds and all
    seeds as many pictures.
    """
    sets, seeds, pictures = cells.shape
    below = np.concatenate(
        [[sets] * sets, np.tile([seeds] * seeds + [pictures] * seeds * pictures, sets)]
    )
    draw, found, at_once = np.random.default_rng(0), [], max(1, MOST // len(below))
    for start in range(0, DRAWS, at_once):
        n = min(at_once, DRAWS - start)
        drawn = draw.integers(0, np.broadcast_to(below, (n, len(below))))
        which, rest = (
            drawn[:, :sets, None, None],
            drawn[:, sets:].reshape(n, sets, seeds * (1 + pictures)),
        )
        seed, picture = rest[..., :seeds, None], rest[..., seeds:].reshape(n, sets, seeds, pictures)
        found.append(cells[which, seed, picture].mean(3).mean(2).mean(1))
    return np.concatenate(found)


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
    """What is flipped: differences of whole photo sets if there are several, else of seeds, else of
    pictures.
    """
    if len(cells) > 1:
        return [float(np.mean([a.mean() for a in seeds])) for seeds in cells], "photo set"
    if cells and len(cells[0]) > 1:
        return [float(a.mean()) for a in cells[0]], "seed"
    return ([float(v) for v in cells[0][0]], "picture") if cells else ([], "")
