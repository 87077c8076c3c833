"""The table of whole models in docs/models.md, from results/families.json."""

from __future__ import annotations

import json
from pathlib import Path

from finding_tables import head, line


def families(results: Path) -> list[str]:
    """A line for each model: parameters, weights, and what one photo takes at both sizes."""
    rows = []
    for name, found in json.loads((results / "families.json").read_text()).items():
        parts = [found[part] for part in ("denoiser", "text_encoders", "autoencoder")]
        cells = [name, *(f"{n / 1e9:.2f}" for n in parts[:2]), f"{4 * sum(parts) / 1e9:.0f}"]
        for size in ("512", "1024"):
            at = found[size]
            graphs = at["encoder_bytes"] + at["denoiser_reckoned"]
            cells += [f"{at['step_flops'] / 1e12:.0f}", f"{graphs / 1e9:.0f}"]
        rows.append(line(cells))
    columns = ["", "denoiser, billions", "text encoders", "fp32, GB"]
    return [*head([*columns, "512 px: TFLOP", "graphs, GB", "1024 px: TFLOP", "graphs, GB"]), *rows]


TABLES = {"families": (("families.json",), families)}
