"""The blind page: which of two photos is the protected one, which of two results looks more like
the subject.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.benchmark import grids
from cloakwork.benchmark.report import blind_answers, html, thumbnails
from cloakwork.benchmark.report.thumbnails import InlineImage
from cloakwork.benchmark.results import Results
from cloakwork.evaluation.design import CLEAN, Subject, ThreatModel
from cloakwork.evaluation.steps import Workspace
from cloakwork.photos.sheets import thumbnail

SIDE = 192  # pixels of a photo's own that are shown, so that two fit side by side on a phone
PAIRS = 24  # of each task: what a person answers with care
SEED = 0  # decides squares, order and sides


@dataclass(frozen=True)
class Pair:
    """A question: two pictures, of which one is the answer."""

    task: str
    """one of blind_answers.TASKS"""
    protection: str
    left: InlineImage
    right: InlineImage
    answer: str
    """left or right"""
    reference: InlineImage | None = None
    """the subject"""

    @property
    def size(self) -> int:
        """Return the bytes in the page, about."""
        return sum(len(s.uri) for s in (self.left, self.right, self.reference) if s)


def pairs(grid: grids.Grid, workspace: Workspace, room: int) -> list[Pair]:
    """Make questions from what the store holds: at most PAIRS of each task and `room` bytes,
    protections and photo sets in turns.
    """
    rng = torch.Generator().manual_seed(SEED)
    questions: list[Pair] = []
    for make in (_seen, _likeness):
        of_task, used, left = [], 0, 0
        for line, subject, attacker, which in _turns(grid):
            if len(of_task) == PAIRS:
                break
            # sides are drawn for two questions at once: in one the answer is left, in the other
            # right
            left = 1 - left if len(of_task) % 2 else int(torch.randint(0, 2, (), generator=rng))
            pair = make(line, subject, attacker, which, workspace, left == 1, rng)
            if pair and used + pair.size <= room // 2:
                used += pair.size
                of_task.append(pair)
        questions += [of_task[i] for i in torch.randperm(len(of_task), generator=rng)]
    return questions


def page(findings: Results, asked: Sequence[Pair]) -> str:
    """Return the page; its key stands in it encoded and is read at the end only."""
    questions = [
        {
            "task": p.task,
            "left": p.left.uri,
            "right": p.right.uri,
            "reference": p.reference.uri if p.reference else "",
        }
        for p in asked
    ]
    content = json.dumps([questions, [p.answer for p in asked]]).encode()
    digest = hashlib.sha256(content).hexdigest()[:16]
    key = json.dumps([[p.answer, p.protection] for p in asked]).encode()
    mask = hashlib.sha256(digest.encode()).digest()
    coded = base64.b64encode(bytes(b ^ mask[i % len(mask)] for i, b in enumerate(key))).decode()
    data = {
        "format": blind_answers.FORMAT,
        "page": digest,
        "seed": SEED,
        "pairs": questions,
        "key": coded,
        "mask": mask.hex(),
    }
    return html.fill(
        "ab.html.j2",
        "ab",
        findings=findings,
        data=data,
        n=len(asked),
        seed=SEED,
        page=digest,
        fastest=blind_answers.FASTEST,
    )


def _turns(grid: grids.Grid) -> Iterator[tuple[grids.Line, Subject, ThreatModel, int]]:
    """Yield every line that changes photos with every photo set, and which photo or picture of it:
    first every line with some set, then with the next, then all again with the next photo.
    """
    lines = [
        (line, table.threat_models[0])
        for table in grid.tables
        for line in grids.lines(table)
        if line.budget
    ]
    most = max((len(line.subjects) for line, _ in lines), default=0)
    for turn in range(most * PAIRS):
        for i, (line, attacker) in enumerate(lines):
            yield line, line.subjects[(turn + i) % len(line.subjects)], attacker, turn // most


def _seen(
    line: grids.Line,
    subject: Subject,
    attacker: ThreatModel,
    which: int,
    workspace: Workspace,
    left: bool,
    rng: torch.Generator,
) -> Pair | None:
    before = thumbnails.photos(subject.clean, workspace)
    after = thumbnails.line_photos(line, subject, workspace)
    if not before or not after or which >= len(before):
        return None
    top, start = thumbnails.crop(before[which], SIDE, rng)
    clean, changed = (p[which][:, top : top + SIDE, start : start + SIDE] for p in (before, after))
    return _pair("seen", line.protection, changed, clean, left)


def _likeness(
    line: grids.Line,
    subject: Subject,
    attacker: ThreatModel,
    which: int,
    workspace: Workspace,
    left: bool,
    rng: torch.Generator,
) -> Pair | None:
    clean_line = grids.Line("none", CLEAN, line.subjects)
    from_clean, from_changed = (
        thumbnails.attack_images(x, subject, attacker, workspace) for x in (clean_line, line)
    )
    photos = thumbnails.photos(subject.references, workspace)
    if from_clean is None or from_changed is None or not photos:
        return None
    if which >= min(len(from_clean), len(from_changed)):
        return None
    answer, other = from_clean[which], from_changed[which]
    reference = thumbnails.inline_image(thumbnail(photos[0]), "", "")
    return _pair("likeness", line.protection, answer, other, left, reference)


def _pair(
    task: str,
    protection: str,
    answer: Tensor,
    other: Tensor,
    left: bool,
    reference: InlineImage | None = None,
) -> Pair:
    pictures = (answer, other) if left else (other, answer)
    first, second = (thumbnails.inline_image(p, "", "", lossless=True) for p in pictures)
    return Pair(task, protection, first, second, "left" if left else "right", reference)
