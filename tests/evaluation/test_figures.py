"""Figures that reports and inspections draw."""

from __future__ import annotations

import re
from pathlib import Path

from cloakwork.evaluation import figures


def test_a_heat_maps_fields_keep_their_width_beside_long_names(tmp_path: Path) -> None:
    width = {}
    for name in ("metacloak" * 2, "metacloak" * 6):
        values = {name: {"": 0.1, "jpeg": 0.2}, "none": {"": 0.3, "jpeg": 0.4}}
        figures.heat(tmp_path / "heat", values, title="", label="match")
        found = re.search(r'viewBox="0 0 ([\d.]+)', (tmp_path / "heat.svg").read_text())
        assert found is not None
        width[len(name)] = float(found[1]) / 72
    assert width[54] - width[18] > 2  # inches; letters of this size take about .07 each
