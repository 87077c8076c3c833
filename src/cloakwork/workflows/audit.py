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

from cloakwork import specs
from cloakwork.environment import surroundings
from cloakwork.evaluation import compute
from cloakwork.evaluation.design import ARMS, Subject, ThreatModel, arms, attack_step
from cloakwork.evaluation.photo_pairs import find_subjects
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Workspace
from cloakwork.files import atomic_write, write_json
from cloakwork.photos.sets import refuse_report_among_photos
from cloakwork.photos.tensors import side_by_side
from cloakwork.state import Progress
from cloakwork.workflows.audit_results import Audit, compare_all
from cloakwork.workflows.defaults import AUDIT_METRICS

SHOWN = 4  # pictures of each prompt on a sheet


def audit(
    protected: Path | str,
    out: Path | str,
    *,
    clean: Path | str | None = None,
    reference: Path | str | None = None,
    threat_models: Sequence[ThreatModel] = (),
    metrics: Sequence[str] = AUDIT_METRICS,
    seeds: int = 1,
    device: str = "auto",
    store: Path | str | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Train attackers on clean, noisy and protected photos alike, and compare what they get.

    Args:
        protected: a folder of protected photos.
        out: folder for the report: audit.json and a sheet for each photo set and threat model.
        clean: folder of the originals; None takes those that the records beside the protected
            photos name.
        reference: further clean photos of the subject, to compare pictures with; None takes the
            originals.
        threat_models: attackers, what they know and have; none means DreamBooth on `tiny`.
        metrics: names of metrics.
        seeds: how many of 0, 1, 2 ...; each trains every attacker anew.
        device: where the models run.
        store: folder or fsspec URL of finished steps, to share between audits; None keeps them in
            `out`.
        progress: called with a label, steps done and their total.

    Raises:
        UserError: photos that do not pair up, an output folder in theirs, unknown methods.
    """
    out = Path(out)
    refuse_report_among_photos(out, protected, clean, reference)
    subjects = find_subjects(protected, clean, reference)
    workspace = Workspace(store or out / ".cloakwork", device, progress)
    threat_models = threat_models or (default_threat_model(),)
    results = compare_all(subjects, threat_models, metrics, seeds, workspace)
    for threat, subject in product(threat_models, subjects):
        sheet(subject, threat, workspace, out / f"{_plain(subject.name)}-{_plain(threat.name)}.png")
    write_json(out / "audit.json", report(results, subjects, threat_models, workspace))
    return results


def _plain(name: str) -> str:
    """Return a name without the characters that some file systems forbid."""
    return re.sub(r'[\s:/\\"*?<>|]+', "-", name)


def default_threat_model() -> ThreatModel:
    """Return DreamBooth with its settings for `tiny`."""
    return ThreatModel(specs.parse("attackers", "dreambooth"))


def report(
    results: Audit,
    subjects: Sequence[Subject],
    threat_models: Sequence[ThreatModel],
    workspace: Workspace,
) -> dict[str, Any]:
    """Return the audit as plain data: its results, and all that is needed to do it again."""
    return asdict(results) | {
        "thieves": [
            t.record() | {"weights": workspace.model(t.victim).weights} for t in threat_models
        ],
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


def sheet(subject: Subject, threat: ThreatModel, workspace: Workspace, path: Path) -> None:
    """Write a PNG of the attacker's pictures with seed 0.

    It has a row for clean, noise and protected, with the prompts' first pictures side by side.
    """
    rows = []
    for arm in ARMS:
        step = attack_step(arms(subject, 0)[arm], subject, threat, 0)
        images = compute.pictures(step, workspace)
        per_prompt = len(images) // len(threat.prompts)
        rows.append(torch.cat([part[:SHOWN] for part in images.split(per_prompt)]))
    side, head, margin = rows[0].shape[-1], 40, 84
    canvas = Image.new("RGB", (margin + len(rows[0]) * side, head + len(ARMS) * side), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for i, prompt in enumerate(threat.prompts):
        draw.text((margin + i * SHOWN * side, 12), prompt, "black", font)
    for y, (arm, row) in enumerate(zip(ARMS, rows, strict=True)):
        draw.text((8, head + y * side + side // 2), arm, "black", font)
        canvas.paste(side_by_side(row, len(row)), (margin, head + y * side))
    with atomic_write(path) as part:
        canvas.save(part, "PNG")
