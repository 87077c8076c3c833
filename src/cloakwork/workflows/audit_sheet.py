"""An audit's sheet: what the attacker drew, beside a real photo, with a tick where it is the
person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from cloakwork.evaluation import compute
from cloakwork.evaluation.design import (
    ARMS,
    Subject,
    ThreatModel,
    arms,
    attack_step,
    parse_metric,
    score_step,
)
from cloakwork.evaluation.steps import Workspace
from cloakwork.files import atomic_write
from cloakwork.photos.photo import load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import as_float, side_by_side

SHOWN = 4  # pictures of each prompt
MARGIN, HEAD, FOOT = 84, 40, 28  # pixels
YES, NO = "#0d8a4f", "#c03000"


def sheet(
    subject: Subject, threat: ThreatModel, metrics: Sequence[str], workspace: Workspace, path: Path
) -> None:
    """Write a PNG of the attacker's pictures with seed 0, beside a real photo.

    It has a row for clean, noise and protected, with the prompts' first pictures side by side.
    Where the audit has `match`, each has a tick or a cross.
    """
    rows = {}
    for arm in ARMS:
        step = attack_step(arms(subject, 0)[arm], subject, threat, 0)
        images = compute.pictures(step, workspace)
        per_prompt = len(images) // len(threat.prompts)
        rows[arm] = torch.cat([part[:SHOWN] for part in images.split(per_prompt)])
    marks = matches(subject, threat, metrics, workspace)
    side = rows[ARMS[0]].shape[-1]
    real = preprocess([as_float(load_photo(subject.references.files[0]).pixels)], side)
    first = MARGIN + side + 12
    width, height = first + len(rows[ARMS[0]]) * side, HEAD + len(ARMS) * side
    canvas = Image.new("RGB", (width, height + FOOT), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    draw.text((MARGIN, 12), "a real photo", "black", font)
    for i, prompt in enumerate(threat.prompts):
        draw.text((first + i * SHOWN * side, 12), prompt, "black", font)
    for y, arm in enumerate(ARMS):
        top, row = HEAD + y * side, rows[arm]
        draw.text((8, top + side // 2), arm, "black", font)
        canvas.paste(side_by_side(real, 1), (MARGIN, top))
        canvas.paste(side_by_side(row, len(row)), (first, top))
        for place, hit in enumerate(marks.get(arm, [])):
            mark(draw, (first + (place + 1) * side, top + side), hit)
    legend = (
        "tick: shows the person; cross: does not" if marks else "who they show was not measured"
    )
    draw.text((8, height + 6), legend, "black", font)
    with atomic_write(path) as part:
        canvas.save(part, "PNG")


def matches(
    subject: Subject, threat: ThreatModel, metrics: Sequence[str], workspace: Workspace
) -> Mapping[str, list[bool]]:
    """Return whether each picture on the sheet shows the person, by arm; {} where unmeasured."""
    named = [metric for metric in metrics if parse_metric(metric).name == "match"]
    found: dict[str, list[bool]] = {}
    for arm in ARMS if named else ():
        score = compute.score(score_step(arm, subject, threat, 0, named[0]), workspace)
        if any(value != value for value in score.values):  # NaN: not scored
            return {}
        per_prompt = len(score.values) // len(threat.prompts)
        found[arm] = [
            bool(value)
            for first in range(0, len(score.values), per_prompt)
            for value in score.values[first : first + per_prompt][:SHOWN]
        ]
    return found


def mark(draw: ImageDraw.ImageDraw, corner: tuple[int, int], hit: bool) -> None:
    """Draw a tick or a cross into the lower right corner of a picture."""
    x, y = corner[0] - 24, corner[1] - 24
    draw.ellipse((x, y, x + 20, y + 20), YES if hit else NO, "white", 2)
    if hit:
        draw.line([(x + 5, y + 10), (x + 9, y + 14), (x + 15, y + 6)], "white", 3)
    else:
        draw.line([(x + 6, y + 6), (x + 14, y + 14)], "white", 3)
        draw.line([(x + 6, y + 14), (x + 14, y + 6)], "white", 3)
