"""What all figures share: colours, markers, panels, how they are saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloakwork.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe and Ito's colours, which colour-blind readers can tell apart; series take them in turn, and
# markers too
COLOURS = ("#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")


MARKERS = ("o", "s", "^", "D", "v", "P", "X")


WIDTH, DPI = 7.2, 144  # inches, dots an inch


def literal(text: str) -> str:
    r"""Return text in which dollars are dollars, not the ends of a formula.

    >>> print(literal("5 $"))
    5 \$
    """
    return text.replace("$", r"\$")


def series_style(name: str, order: Sequence[str], j: int) -> dict:
    """Return colour and marker of a series: by its place in `order`, else as number j."""
    j = order.index(name) if name in order else j
    return {
        "color": COLOURS[j % len(COLOURS)],
        "marker": MARKERS[j % len(MARKERS)],
        "markersize": 4.5,
    }


def new_figure(panels: int, height: float, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels side by side; inches."""
    # not pyplot, which keeps every figure and asks for a screen
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height + 0.6), layout="constrained")
    axes = list(fig.subplots(1, panels, squeeze=False)[0])
    for ax in axes:
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    return fig, axes


def save_figure(fig: Figure, path: Path, title: str, series: int) -> None:
    """Save a figure with its title and legend as SVG and PNG, whole or not at all."""
    from matplotlib import rc_context

    if title:
        fig.suptitle(literal(title), fontsize=10, x=0.01, ha="left", wrap=True)
    if series > 1:
        handles, names = fig.axes[0].get_legend_handles_labels()
        fig.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=min(4, series),
            frameon=False,
            fontsize=8,
        )
    for ending in (".svg", ".png"):
        file = path.with_name(path.name + ending)
        # without a date and with a fixed salt the same figure has the same bytes
        with atomic_write(file) as part, rc_context({"svg.hashsalt": path.name}):
            fig.savefig(
                part,
                format=ending[1:],
                dpi=DPI,
                metadata={"Date": None} if ending == ".svg" else None,
            )
