"""Audits of folders: what the command and the Python API call. JSON and picture sheets go to the
report folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont

from cloakwork import registry
from cloakwork.environment import surroundings
from cloakwork.evaluation import compute
from cloakwork.evaluation.design import ARMS, Subject, ThreatModel, arms, attack_step
from cloakwork.evaluation.pairing import find_subjects
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Workspace
from cloakwork.files import atomic_write, write_json
from cloakwork.photos.sets import refuse_report_among_photos
from cloakwork.photos.tensors import side_by_side
from cloakwork.state import Progress
from cloakwork.workflows.audit_results import Audit, compare_all

# identity where there are faces, the embedded CLIP's likeness where there are none, and whether the
# prompt was followed
METRICS = ("match", "identity", "face_missing", "clip_i", "clip_t")
SHOWN = 4  # pictures of each prompt on a sheet


def audit(
    protected: Path | str,
    out: Path | str,
    *,
    clean: Path | str | None = None,
    reference: Path | str | None = None,
    thieves: Sequence[ThreatModel] = (),
    metrics: Sequence[str] = METRICS,
    seeds: int = 1,
    device: str = "auto",
    store: Path | str | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Trains thieves on clean, noisy and protected photos alike and says, with intervals, what the
    protection bought.

    Args:
        protected: a folder of protected photos.
        out: folder for the report: audit.json and a sheet for each photo set and thief.
        clean: folder of the originals; None takes those that the records beside the protected
            photos name.
        reference: further clean photos of the subject, to compare pictures with; None takes the
            originals.
        thieves: attackers with their circumstances; none means DreamBooth on `tiny`.
        metrics: names of metrics.
        seeds: how many of 0, 1, 2 ...; each trains every thief anew.
        device: where the models run.
        store: folder or fsspec URL of finished steps, to share between audits; None keeps them in
            `out`.
        progress: called with a label, steps done and their total.

    Raises:
        UserError: photos that do not pair up, an output folder in theirs, unknown methods, no
            thief.
    """
    out = Path(out)
    refuse_report_among_photos(out, protected, clean, reference)
    subjects = find_subjects(protected, clean, reference)
    workspace = Workspace(store or out / ".cloakwork", device, progress)
    thieves = thieves or (default_thief(),)
    found = compare_all(subjects, thieves, metrics, seeds, workspace)
    for thief, subject in product(thieves, subjects):
        sheet(subject, thief, workspace, out / f"{_plain(subject.name)}-{_plain(thief.name)}.png")
    write_json(out / "audit.json", report(found, subjects, thieves, workspace))
    return found


def _plain(name: str) -> str:
    """A name without what file names cannot hold everywhere."""
    return re.sub(r'[\s:/\\"*?<>|]+', "-", name)


def default_thief() -> ThreatModel:
    """DreamBooth with its settings for `tiny`."""
    return ThreatModel(
        "dreambooth", registry.config(registry.load("attackers", "dreambooth"), "tiny")
    )


def report(
    found: Audit, subjects: Sequence[Subject], thieves: Sequence[ThreatModel], workspace: Workspace
) -> dict[str, Any]:
    """The audit as plain data: what was found, and all that is needed to do it again."""
    return asdict(found) | {
        "thieves": [asdict(t) | {"weights": workspace.model(t.victim).weights} for t in thieves],
        "photos": {
            s.name: {
                "budget": s.budget,
                "clean": list(s.clean.digests),
                "protected": list(s.protected.digests)
                if isinstance(s.protected, Source)
                else s.protected.name,
                "references": list(s.references.digests),
            }
            for s in subjects
        },
        "surroundings": surroundings(workspace.torch_device),
    }


def sheet(subject: Subject, thief: ThreatModel, workspace: Workspace, path: Path) -> None:
    """A PNG of what the thief got with seed 0: a row for clean, noise and protected, the prompts'
    first pictures side by side.
    """
    rows = []
    for arm in ARMS:
        got = compute.pictures(attack_step(arms(subject, 0)[arm], subject, thief, 0), workspace)
        per_prompt = len(got) // len(thief.prompts)
        rows.append(torch.cat([part[:SHOWN] for part in got.split(per_prompt)]))
    side, head, margin = rows[0].shape[-1], 40, 84
    canvas = Image.new("RGB", (margin + len(rows[0]) * side, head + len(ARMS) * side), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for i, prompt in enumerate(thief.prompts):
        draw.text((margin + i * SHOWN * side, 12), prompt, "black", font)
    for y, (arm, row) in enumerate(zip(ARMS, rows, strict=True)):
        draw.text((8, head + y * side + side // 2), arm, "black", font)
        canvas.paste(side_by_side(row, len(row)), (margin, head + y * side))
    with atomic_write(path) as part:
        canvas.save(part, "PNG")
