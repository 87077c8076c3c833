"""Do `tiny-dit`'s samples show what the prompt asks for? Judged as those of `tiny`."""

from __future__ import annotations

import json
from pathlib import Path

from judge_samples import judge, judge_one
from judging import outside


def measure(work: Path, dit: Path, sheets: Path | None, minutes: float) -> dict:
    """Agreement of samples with prompts, beside the score of real photos and the steps of each
    part."""
    net, real, result = judge(work, minutes)
    trained = json.loads((dit / "trained.json").read_text())
    result["trained"] = {part: record["step"] for part, record in trained.items()}
    folder = outside(sheets) if sheets else None
    return result | {"tiny-dit": judge_one(net, dit, "tiny-dit", real, folder)}
