"""Figures, drawn by matplotlib: each an SVG and a PNG of the same name that appear whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloakwork.files import whole
from cloakwork.intervals import Estimate

Course = Mapping[Any, Estimate]  # a number -> estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can tell apart; series take them in turn, and markers too
COLOURS = ("#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH, DPI = 7.2, 144  # inches, dots an inch


def dots(
    path: Path,
    rows: Mapping[str, Mapping[str, Estimate]],
    *,
    title: str,
    axis: str,
    line: float | None = None,
    order: Sequence[str] = (),
) -> None:
    """Means with their intervals: a line for each row, a marker for each series in it.

    Args:
        path: of the figure, without an ending.
        rows: label -> series -> estimate; what was not scored is left out.
        title, axis: what is seen, and what is counted along the axis.
        line: where a thin line crosses all rows, if anywhere.
        order: series as they take colours, so that they have the same in several figures.
    """
    names = list(dict.fromkeys(name for series in rows.values() for name in series))
    fig, (ax,) = _figure(1, 1.1 + 0.16 * len(rows) * (len(names) + 1))
    for j, name in enumerate(names):
        shown = [(i + 0.8 * ((j + 0.5) / len(names) - 0.5), s[name]) for i, s in enumerate(rows.values()) if name in s]
        shown = [(y, e) for y, e in shown if not math.isnan(e.mean)]
        if shown:
            ys, means = [y for y, _ in shown], [e.mean for _, e in shown]
            spans = [[max(0.0, e.mean - e.low) for _, e in shown], [max(0.0, e.high - e.mean) for _, e in shown]]
            ax.errorbar(means, ys, xerr=spans, label=name, linestyle="none", elinewidth=1, **_style(name, order, j))
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(axis)
    if line is not None:
        ax.axvline(line, color="grey", linewidth=0.8)
    _save(fig, path, title, len(names))


def points(path: Path, series: Mapping[str, Sequence[Sequence[float]]], *, title: str, axes: tuple[str, str]) -> None:
    """A plane: (x, y) of each point of each series; thin lines lead from those of the first to the same ones of the others."""
    fig, (ax,) = _figure(1, 5.2)
    first, *others = series.values()
    for a, b in ((a, b) for other in others for a, b in zip(first, other, strict=True)):
        ax.plot([a[0], b[0]], [a[1], b[1]], color="grey", linewidth=0.5, alpha=0.5)
    for j, (name, xy) in enumerate(series.items()):
        ax.plot([p[0] for p in xy], [p[1] for p in xy], label=name, linestyle="none", alpha=0.8, **_style(name, (), j))
    ax.set_xlabel(axes[0])
    ax.set_ylabel(axes[1])
    _save(fig, path, title, len(series))


def lines(path: Path, panels: Mapping[str, Mapping[str, Course]], *, title: str, axis: str, order: Sequence[str] = ()) -> None:
    """Panels side by side: in each, series of x -> estimate as lines, their intervals as bands; `order` as in `dots`."""
    fig, all_axes = _figure(len(panels), 3.4)
    for ax, (label, series) in zip(all_axes, panels.items(), strict=True):
        for j, (name, course) in enumerate(series.items()):
            xs = [x for x, e in course.items() if not math.isnan(e.mean)]
            style = _style(name, order, j)
            ax.plot(xs, [course[x].mean for x in xs], label=name, linewidth=1.4, **style)
            ax.fill_between(xs, [course[x].low for x in xs], [course[x].high for x in xs], color=style["color"], alpha=0.12)
        ax.set_xlabel(axis)
        ax.set_title(label, fontsize=9)
    _save(fig, path, title, max(len(series) for series in panels.values()))


def _style(name: str, order: Sequence[str], j: int) -> dict:
    j = order.index(name) if name in order else j
    return {"color": COLOURS[j % len(COLOURS)], "marker": MARKERS[j % len(MARKERS)], "markersize": 4.5}


def _figure(panels: int, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure and asks for a screen

    fig = Figure(figsize=(WIDTH, height + 0.6), layout="constrained")
    axes = list(fig.subplots(1, panels, squeeze=False)[0])
    for ax in axes:
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    return fig, axes


def _save(fig: Figure, path: Path, title: str, series: int) -> None:
    from matplotlib import rc_context

    fig.suptitle(title, fontsize=10, x=0.01, ha="left", wrap=True)
    if series > 1:
        handles, names = fig.axes[0].get_legend_handles_labels()
        fig.legend(handles, names, loc="outside lower center", ncols=min(4, series), frameon=False, fontsize=8)
    for ending in (".svg", ".png"):
        file = path.with_name(path.name + ending)
        # without a date and with a fixed salt the same figure has the same bytes
        with whole(file) as part, rc_context({"svg.hashsalt": path.name}):
            fig.savefig(part, format=ending[1:], dpi=DPI, metadata={"Date": None} if ending == ".svg" else None)
