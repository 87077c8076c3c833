"""Figures, drawn by matplotlib: each an SVG and a PNG of the same name that appear whole or not at
all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloakwork.evaluation.figure_parts import WIDTH, literal, new_figure, save_figure, series_style
from cloakwork.evaluation.point_names import name_points
from cloakwork.evaluation.statistics import Estimate

Curve = Mapping[Any, Estimate]  # a number -> estimate

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes


def dots(
    path: Path,
    rows: Mapping[str, Mapping[str, Estimate]],
    *,
    title: str,
    axis: str,
    line: float | None = None,
    order: Sequence[str] = (),
) -> None:
    """Draw means with their intervals: a line for each row, a marker for each series in it.

    Args:
        path: of the figure, without an ending.
        rows: label -> series -> estimate; what was not scored is left out.
        title, axis: what is seen, and what is counted along the axis.
        line: where a thin line crosses all rows, if anywhere.
        order: series as they take colours, so that they have the same in several figures.
    """
    names = list(dict.fromkeys(name for series in rows.values() for name in series))
    fig, (ax,) = new_figure(1, 1.1 + 0.16 * len(rows) * (len(names) + 1))
    for j, name in enumerate(names):
        shown = [
            (i + 0.8 * ((j + 0.5) / len(names) - 0.5), s[name])
            for i, s in enumerate(rows.values())
            if name in s
        ]
        shown = [(y, e) for y, e in shown if not math.isnan(e.mean)]
        if shown:
            ys, means = [y for y, _ in shown], [e.mean for _, e in shown]
            spans = [
                [max(0.0, e.mean - e.low) for _, e in shown],
                [max(0.0, e.high - e.mean) for _, e in shown],
            ]
            ax.errorbar(
                means,
                ys,
                xerr=spans,
                label=literal(name),
                linestyle="none",
                elinewidth=1,
                **series_style(name, order, j),
            )
    ax.set_yticks(range(len(rows)), [literal(row) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(axis)
    if line is not None:
        ax.axvline(line, color="grey", linewidth=0.8)
    save_figure(fig, path, title, len(names))


def points(
    path: Path,
    series: Mapping[str, Sequence[Sequence[float]]],
    *,
    title: str,
    axes: tuple[str, str],
) -> None:
    """Draw a plane: (x, y) of each point of each series; thin lines lead from those of the first to
    the same ones of the others.
    """
    fig, (ax,) = new_figure(1, 5.2)
    first, *others = series.values()
    for a, b in ((a, b) for other in others for a, b in zip(first, other, strict=True)):
        ax.plot([a[0], b[0]], [a[1], b[1]], color="grey", linewidth=0.5, alpha=0.5)
    for j, (name, xy) in enumerate(series.items()):
        ax.plot(
            [p[0] for p in xy],
            [p[1] for p in xy],
            label=literal(name),
            linestyle="none",
            alpha=0.8,
            **series_style(name, (), j),
        )
    ax.set_xlabel(axes[0])
    ax.set_ylabel(axes[1])
    save_figure(fig, path, title, len(series))


def lines(
    path: Path,
    panels: Mapping[str, Mapping[str, Curve]],
    *,
    title: str,
    axis: str,
    order: Sequence[str] = (),
) -> None:
    """Draw panels side by side: in each, series of x -> estimate as lines, their intervals as
    bands; `order` as in `dots`.
    """
    fig, all_axes = new_figure(len(panels), 3.4)
    for ax, (label, series) in zip(all_axes, panels.items(), strict=True):
        for j, (name, course) in enumerate(series.items()):
            xs = [x for x, e in course.items() if not math.isnan(e.mean)]
            style = series_style(name, order, j)
            ax.plot(xs, [course[x].mean for x in xs], label=literal(name), linewidth=1.4, **style)
            ax.fill_between(
                xs,
                [course[x].low for x in xs],
                [course[x].high for x in xs],
                color=style["color"],
                alpha=0.12,
            )
        ax.set_xlabel(axis)
        ax.set_title(literal(label), fontsize=9)
    save_figure(fig, path, title, max(len(series) for series in panels.values()))


def plane(
    path: Path,
    points: Mapping[str, tuple[Estimate, Estimate]],
    *,
    title: str,
    axes: tuple[str, str],
    levels: Mapping[str, Estimate] | None = None,
    width: float = WIDTH,
) -> None:
    """Draw a plane: a named point with its two intervals for each (x, y); `levels` cross it at
    their y, their intervals as bands.
    """
    fig, (ax,) = new_figure(1, 0.75 * width, width)
    for j, (name, (x, y)) in enumerate(points.items()):
        spans = [[[max(0.0, e.mean - e.low)], [max(0.0, e.high - e.mean)]] for e in (x, y)]
        ax.errorbar(
            x.mean,
            y.mean,
            xerr=spans[0],
            yerr=spans[1],
            linestyle="none",
            elinewidth=0.9,
            **series_style(name, (), j),
        )
    for j, (name, y) in enumerate(sorted((levels or {}).items(), key=lambda level: level[1].mean)):
        ax.axhline(y.mean, color="grey", linewidth=1, linestyle=("--", "-", ":")[j % 3])
        ax.axhspan(y.low, y.high, color="grey", alpha=0.12, linewidth=0)
        ax.annotate(
            literal(name),
            (1, y.mean),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3 if j else -9),
            ha="right",
            textcoords="offset points",
            fontsize=8,
        )
    ax.set_xlabel(axes[0])
    ax.set_ylabel(axes[1])
    name_points(fig, ax, {name: (x.mean, y.mean) for name, (x, y) in points.items()})
    save_figure(fig, path, title, 1)


def heat(
    path: Path,
    values: Mapping[str, Mapping[str, float]],
    *,
    title: str,
    label: str,
    words: Mapping[tuple[str, str], str] | None = None,
    reverse: bool = False,
    rule: int = 0,
) -> None:
    """Draw a grid of coloured fields with their numbers in them; what is NaN is hatched and says
    "failed"; zeros, and fields that are all the same, are not coloured.

    Args:
        path: of the figure, without an ending.
        values: row -> column -> number; the same columns in every row.
        title: what is seen.
        label: of the colours.
        words: what stands in a field in place of its number.
        reverse: small numbers take the strong colours.
        rule: the column that a line stands before; 0: none.
    """
    import matplotlib
    import numpy as np

    columns, words = list(next(iter(values.values()))), words or {}
    grid = np.array([[row[c] for c in columns] for row in values.values()], float)
    # beside the longest name a field keeps room for what stands in it
    names = max(2.2, 0.3 + 0.075 * max(map(len, values)))
    fig, (ax,) = new_figure(1, 1.6 + 0.36 * len(values), max(4.2, names + 0.95 * len(columns)))
    colours = matplotlib.colormaps["YlOrBr_r" if reverse else "YlOrBr"]
    bare = _uncoloured(grid)
    mesh = ax.pcolormesh(
        np.ma.masked_array(grid, bare), cmap=colours, edgecolors="#888888", linewidth=0.5
    )
    for (i, row), (j, column) in product(enumerate(values), enumerate(columns)):
        failed = math.isnan(grid[i, j])
        name = words.get((row, column), "failed" if failed else f"{grid[i, j]:.2f}")
        light = None if bare[i, j] else sum(mesh.to_rgba(grid[i, j])[:3])
        _field(ax, i, j, literal(name), light, hatched=failed)
    _name_fields(ax, list(values), columns)
    if rule:
        ax.axvline(rule, color="black", linewidth=2.5)
    if not bare.all():
        bar = fig.colorbar(mesh, ax=ax, location="bottom", fraction=0.06, pad=0.03, aspect=40)
        bar.set_label(literal(label), fontsize=8.5)
        bar.outline.set_visible(False)  # type: ignore[operator]
    save_figure(fig, path, title, 1)


def _uncoloured(grid: np.ndarray) -> np.ndarray:
    """Return which fields have no colour, which says that something differs: zeros, what is NaN,
    and fields that are all the same.
    """
    import numpy as np

    known = grid[~np.isnan(grid)]
    even = known.size == 0 or bool((known == known[0]).all())
    return np.isnan(grid) | (grid == 0) | even


def _name_fields(ax: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Write the names of columns over a grid of fields, and those of rows from its top down."""
    centres = [[i + 0.5 for i in range(len(names))] for names in (columns, rows)]
    ax.set_xticks(centres[0], [literal(c) for c in columns], rotation=25, ha="left", fontsize=8.5)
    ax.set_yticks(centres[1], [literal(r) for r in rows], fontsize=8.5)
    ax.xaxis.tick_top()
    ax.invert_yaxis()
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def _field(ax: Axes, i: int, j: int, name: str, light: float | None, *, hatched: bool) -> None:
    """Write what stands in a field, on a colour as light as that (0 to 3; None: no colour)."""
    if hatched:
        ax.fill_between(
            [j, j + 1],
            i,
            i + 1,
            facecolor="none",
            edgecolor="grey",
            hatch="///",
            linewidth=0,
            alpha=0.35,
        )
    # fields keep their colours on a dark page, and so must what is written on them
    ink = "black" if light is None else "#fefefe" if light < 1.5 else "#111111"
    ax.text(
        j + 0.5,
        i + 0.5,
        name,
        ha="center",
        va="center",
        fontsize=7.5 if "\n" in name else 8,
        color=ink,
    )
