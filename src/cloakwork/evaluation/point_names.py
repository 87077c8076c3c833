"""Names beside a figure's points, where they cover nothing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING

from cloakwork.evaluation.figure_parts import literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def name_points(
    fig: Figure, ax: Axes, points: Mapping[str, tuple[float, float]], size: float = 8.5
) -> None:
    """Write names beside points, each at the nearest place where it covers no point and no other
    name.
    """
    # adjustText would move names for seconds and differ by version; a few places are enough here
    fig.draw_without_rendering()  # so that places on the page are known
    frame = ax.get_window_extent()
    at = {name: ax.transData.transform(xy) * 72 / fig.dpi for name, xy in points.items()}
    taken = [(x - 4, x + 4, y - 4, y + 4) for x, y in at.values()]
    for name, (x, y) in sorted(at.items(), key=lambda item: item[1][1]):
        long = 0.6 * size * len(name)
        for far, (right, up) in product(
            (7, 14, 22, 32, 44, 60), ((1, 0.6), (-1, 0.6), (1, -1.4), (-1, -1.4), (0, 1), (0, -1.6))
        ):
            start, foot = x + far * right - long * (0.5 - right / 2), y + far * up
            box = (start, start + long, foot - 0.2 * size, foot + size)
            inside = frame.x0 < box[0] * fig.dpi / 72 and box[1] * fig.dpi / 72 < frame.x1
            if inside and not any(
                box[0] < b and box[1] > a and box[2] < d and box[3] > c for a, b, c, d in taken
            ):
                break
        taken.append(box)
        line = (
            {"arrowstyle": "-", "color": "grey", "linewidth": 0.5, "shrinkB": 3}
            if far > 14
            else None
        )
        ax.annotate(
            literal(name),
            points[name],
            xytext=(start - x, foot - y),
            textcoords="offset points",
            fontsize=size,
            arrowprops=line,
        )
