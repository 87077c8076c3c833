"""The table of FLOPs in docs/protections.md, from results/flops.json."""

from __future__ import annotations

import json
from pathlib import Path

from finding_tables import head, line


def flops(results: Path) -> list[str]:
    """A line for each kind of step: TFLOP now and at the commit before, and their ratio; a dash
    where it was not counted before."""
    columns = json.loads((results / "flops.json").read_text())
    before, now = columns["before"], columns["now"]

    def past(what: str, n: float) -> list[str]:
        return [f"{before[what]:.2f}", f"{n / before[what]:.2f}"] if what in before else ["-", "-"]

    rows = [
        line([what, f"{n:.2f}", *past(what, n)])
        for what, n in sorted(now.items(), key=lambda item: (item[1], item[0]))
    ]
    return [*head(["a step of", "TFLOP", "before", "ratio"]), *rows]


TABLES = {"flops": (("flops.json",), flops)}
