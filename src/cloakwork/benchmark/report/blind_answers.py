"""What people answered on the blind page: how often the protected photo was found, how often the
clean result was preferred.

An answer is right when the participant found the protected photo (task "seen"), or took the
attacker's picture from clean photos for the one more like the subject (task "likeness"). Half of
all answers are right by guessing alone: a protection that nobody sees stays near one half in the
first task, and one that works rises above it in the second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloakwork.errors import UserError
from cloakwork.files import parse_json

TASKS = {
    "seen": "the protected photo was found",
    "likeness": "the result from clean photos looked more like the subject",
}
FORMAT = 1
FASTEST = 1.0  # seconds; nobody looks at two pictures and decides in less
Z = 1.959963984540054  # of a normal distribution's 95 %


@dataclass(frozen=True)
class Share:
    """How often answers were right."""

    task: str
    protection: str
    right: int
    n: int
    low: float
    high: float
    """Wilson's 95 % interval of the share"""
    p: float
    """two-sided, exact, of the binomial with one half"""

    @property
    def share(self) -> float:
        """Return the share of right answers, 0 to 1."""
        return self.right / self.n


@dataclass(frozen=True)
class Answers:
    """What a study found."""

    shares: tuple[Share, ...]
    """by task and protection, all participants together"""
    participants: dict[str, dict[str, tuple[int, int]]]
    """participant -> task -> right answers, answers"""
    notes: tuple[str, ...]
    """what was left out, and what the numbers do not say"""

    def lines(self) -> Iterator[str]:
        """Yield what was found, in lines for a terminal."""
        for task, meaning in TASKS.items():
            if shares := [s for s in self.shares if s.task == task]:
                yield f"{meaning[0].upper()}{meaning[1:]} (one half is guessing):"
                for s in shares:
                    interval = f"[{s.low:.2f}, {s.high:.2f}]"
                    share = f"{s.right} of {s.n} = {s.share:.2f} {interval}"
                    yield f"  {s.protection}: {share}, p = {s.p:.2g}"
        for name, by in self.participants.items():
            yield f"{name}: " + ", ".join(
                f"{task} {right} of {n} right" for task, (right, n) in by.items()
            )
        yield from self.notes


def analyse(files: Sequence[Path | str]) -> Answers:
    """Count right answers by task and protection, over the files that participants downloaded from
    the blind page.

    Args:
        files: JSON; of two by the same participant for the same page, each pair of pictures counts
            once.

    Raises:
        UserError: no file, files that cannot be read as answers (all of them named), or no answer
            left.
    """
    if not files:
        raise UserError(
            "No answers were given; name the files that participants have downloaded from ab.html."
        )
    answers, seconds, pages, faults, again = {}, {}, set(), [], 0
    for file in files:
        try:
            content = _read(Path(file))
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            faults.append(
                f"{file} holds no answers ({type(error).__name__}: {error}); "
                "it must be a file downloaded from ab.html."
            )
            continue
        pages.add(content["page"])
        for a in content["answers"]:
            key = content["page"], content["participant"], a["pair"]
            again += key in answers
            answers[key] = a["task"], a["protection"], a["right"]
            seconds[key] = a["seconds"]
    if faults:
        raise UserError(*faults)
    slow = {key: a for key, a in answers.items() if seconds[key] >= FASTEST}
    if not slow:
        raise UserError(
            f"No answer is left: {len(answers)} were given, all in under {FASTEST:g} second; "
            "ask people to take their time."
        )
    return Answers(
        tuple(_shares(slow.values())),
        _participants(slow),
        tuple(_notes(len(answers) - len(slow), again, len(pages), slow)),
    )


# `scipy.stats.binomtest` has both of the following; two closed forms are no reason to depend on it


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return Wilson's score interval (1927), 95 %, of a share.

    >>> [round(end, 3) for end in wilson(15, 20)]
    [0.531, 0.888]
    """
    centre, spread = right + Z * Z / 2, Z * math.sqrt(right * (n - right) / n + Z * Z / 4)
    return max(0.0, (centre - spread) / (n + Z * Z)), min(1.0, (centre + spread) / (n + Z * Z))


def binomial(right: int, n: int) -> float:
    """Return the two-sided exact p of so many right answers or as unlikely a number, when all
    guess.

    >>> binomial(5, 5), binomial(2, 4)
    (0.0625, 1.0)
    """
    tail = sum(math.comb(n, k) for k in range(max(right, n - right), n + 1))
    return min(1.0, 2 * tail / 2**n)


def _read(path: Path) -> dict[str, Any]:
    content = parse_json(path.read_bytes())
    if content["format"] > FORMAT:
        raise ValueError(f"format {content['format']}, this reads {FORMAT}")
    for a in content["answers"]:
        sound = (
            isinstance(a["right"], bool)
            and isinstance(a["pair"], str)
            and isinstance(a["protection"], str)
        )
        if not sound or a["task"] not in TASKS or not math.isfinite(float(a["seconds"])):
            raise ValueError(f"{a} is no answer")
    return {
        "page": str(content["page"]),
        "participant": str(content["participant"]),
        "answers": content["answers"],
    }


def _shares(answers: Iterable[tuple[str, str, bool]]) -> Iterator[Share]:
    groups: dict[tuple[str, str], list[bool]] = {}
    for task, protection, right in answers:
        groups.setdefault((task, protection), []).append(right)
    order = list(TASKS)
    for task, protection in sorted(groups, key=lambda key: (order.index(key[0]), key[1])):
        rights = groups[task, protection]
        n, right = len(rights), sum(rights)
        yield Share(task, protection, right, n, *wilson(right, n), binomial(right, n))


def _participants(
    answers: dict[tuple[str, str, str], tuple[str, str, bool]],
) -> dict[str, dict[str, tuple[int, int]]]:
    counts: dict[str, dict[str, tuple[int, int]]] = {}
    for (_, who, _), (task, _, right) in sorted(answers.items()):
        rights, n = counts.setdefault(who, {}).get(task, (0, 0))
        counts[who][task] = rights + right, n + 1
    return counts


def _notes(fast: int, again: int, pages: int, answers: dict) -> Iterator[str]:
    if fast:
        yield f"Left out: {fast} answer{'s' * (fast > 1)} in under {FASTEST:g} second."
    if again:
        yield f"{again} answer{'s' * (again > 1)} stood in more than one file; the last counts."
    if pages > 1:
        yield f"The answers are to {pages} different pages, taken together here."
    people = len({who for _, who, _ in answers})
    if people < 2:
        yield "One participant: this says what one pair of eyes saw."
    yield (
        "Answers of one participant, and answers to one pair, resemble each other; intervals and p "
        "take them for independent, so both are too sure."
    )
