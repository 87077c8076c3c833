"""Seconds left, by a simulated clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloakwork.attackers import dreambooth
from cloakwork.protections import aspl
from cloakwork.specs import Method
from cloakwork.workflows import forecast
from cloakwork.workflows.forecast import Forecast, Part, telling
from cloakwork.workflows.how_far import TIME
from cloakwork.workflows.protect import protect
from cloakwork.workflows.workload import Workloads

Said = tuple[float, float]  # share of the run that was over, seconds left as foretold over real


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(forecast, "clock", clock)
    return clock


# seconds of one unit of each kind on an imagined machine, against those of SECONDS
Machine = Callable[[str], float]


def played(parts: list[Part], steps: int, machine: Machine, clock: Clock) -> list[Said]:
    """What is foretold while parts go on, each in so many steps, the first of which is slow."""
    foretold, begun = Forecast(parts), clock.now
    said: list[tuple[float, float | None]] = []
    for part in parts:
        seconds = sum(forecast.SECONDS[kind] * n * machine(kind) for kind, n in part.work.items())
        for step in range(1, steps + 1):
            clock.now += seconds / steps + (1 if step == 1 else 0)
            if part.loop:
                foretold.heard(part.loop, step, steps)
            said.append((clock.now, foretold.left()))
        if not part.loop:  # the last of a step
            foretold.finished(part.step)
    whole = clock.now - begun
    return [
        ((now - begun) / whole, left / (whole - (now - begun)))
        for now, left in said
        if left is not None and now < clock.now - whole / 50
    ]


def off_after_a_tenth(said: list[Said]) -> float:
    """The largest share by which it was off once a tenth of the run was over."""
    late = [ratio for share, ratio in said if share > 0.1]
    assert len(late) > 20
    return max(abs(ratio - 1) for ratio in late)


def protection(step: str) -> list[Part]:
    """Class pictures, a search, turns of training and gradients, writing."""
    return [
        Part(step, "class pictures", {"unet": 3000.0, "unet calls": 200.0}, "class pictures"),
        Part(step, "timesteps", {"unet": 3000.0, "unet_backward": 3000.0}, "timesteps"),
        Part(step, "own", {"training_steps": 900.0, "unet_backward": 9000.0}, "turns"),
        Part(step, "", {"photos written": 5.0}, "written"),
    ]


@pytest.mark.parametrize("speed", [0.01, 1.0, 3.0])
def test_it_is_right_within_a_quarter_after_a_tenth(speed: float, clock: Clock) -> None:
    """Whatever the machine's speed, and where its kinds of work compare a little otherwise."""

    def machine(kind: str) -> float:
        return speed * {"training_steps": 1.2, "unet": 0.9}.get(kind, 1.0)

    parts = [*protection("a"), *protection("b")]
    if speed < 0.1:
        parts = [replace(p, work={k: 100 * n for k, n in p.work.items()}) for p in parts]
    assert off_after_a_tenth(played(parts, 50, machine, clock)) < 0.25


def test_steps_of_a_store_are_told_from_those_that_are_like_them(clock: Clock) -> None:
    """Attackers take ten times as long as scores, whatever they were thought to."""
    parts = [
        part
        for n in range(12)
        for part in (
            Part(f"attack {n}", "dreambooth", {"training_steps": 100.0}, "training"),
            Part(f"attack {n}", "", {"unet": 1000.0}, "drawing"),
            Part(f"score {n}", "", {"scores": 1.0}, "score"),
        )
    ]

    def machine(kind: str) -> float:
        return 4.0 if kind == "scores" else 2.0

    assert off_after_a_tenth(played(parts, 10, machine, clock)) < 0.25


def test_slow_first_steps_are_not_taken_for_all(clock: Clock) -> None:
    """Where something alike is over, a loop's first steps are held against what it took."""
    parts = [Part(step, "own", {"training_steps": 100.0}, "turns") for step in ("a", "b", "c")]
    foretold = Forecast(parts)
    for step in range(1, 101):
        clock.now += 0.5
        foretold.heard("own", step, 100)
    for step, seconds in ((1, 5.0), (2, 1.0)):
        clock.now += seconds
        foretold.heard("own", step, 100)
        assert foretold.left() == pytest.approx((200 - step) * 0.5, rel=0.25)


def test_the_first_of_many_steps_tells_nothing(clock: Clock) -> None:
    """It also gets everything ready; of few steps it is a large share."""
    for total, tells in ((100, False), (4, True)):
        foretold = Forecast(protection("a"))
        clock.now += 3
        foretold.heard("class pictures", 1, total)
        assert (foretold.left() is not None) == tells
        clock.now += 1
        foretold.heard("class pictures", 2, total)
        assert foretold.left() is not None


def test_class_pictures_are_drawn_once() -> None:
    """Attackers on one victim learn the same ones; they are kept. Another victim draws its own."""
    config = replace(dreambooth.PRESETS["tiny"], steps=2, class_images=8)
    method, workloads = Method("attackers", "dreambooth", config), Workloads()
    drawn = {
        step: workloads.attack(method, photos=1, prompts=1, step=step, models=victim)[0]
        for step, victim in (("a", "tiny"), ("b", "tiny"), ("c", "tiny-b"))
    }
    assert {part.loop for part in drawn.values()} == {"class pictures"}
    assert [part.usual > 0 for part in drawn.values()] == [True, False, True]


def test_what_an_earlier_run_did_is_not_counted(clock: Clock) -> None:
    """The class pictures are there, and the turns go on at the sixtieth."""
    foretold = Forecast(protection("a"))
    for step in range(61, 71):
        clock.now += 2
        foretold.heard("own", step, 100)
    left, written = foretold.left(), 5 * forecast.SECONDS["photos written"]
    pace = 20 / (10 * (180 + 180) / 100)  # of SECONDS
    assert left == pytest.approx(30 * 2 + written * pace, rel=0.01)


def test_nothing_is_foretold_before_anything_is_known(clock: Clock) -> None:
    foretold = Forecast(protection("a"))
    assert foretold.left() is None
    foretold.heard("photo sets", 0, 2)
    assert foretold.left() is None


def test_the_time_is_told_once_a_second(clock: Clock) -> None:
    said: list[tuple[str, int, int]] = []
    tell = telling(Forecast(protection("a")), lambda *what: said.append(what))
    for step in range(1, 5):
        clock.now += 0.6
        tell("class pictures", step, 10)
    times = [what for what in said if what[0] == TIME]
    assert len(said) - len(times) == 4 and len(times) == 2
    assert all(0 < passed < whole for _, passed, whole in times)


def test_protect_tells_the_time(
    sample_files: list[Path], tmp_path: Path, small_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the parts that the method itself reports: none is left over, none is missed."""
    parts: list[Part] = []
    monkeypatch.setattr(Forecast, "left", lambda self: parts.extend(self.parts) or 5.0)
    monkeypatch.setenv("CLOAKWORK_CACHE", str(tmp_path / "cache"))
    said: list[Any] = []
    config = replace(aspl.PRESETS["tiny"], outer=2, pgd_steps=2, class_images=2)
    protect(
        sample_files[:2],
        tmp_path / "out",
        protection="aspl",
        config=config,
        surrogates=small_name,
        progress=lambda *what: said.append(what),
    )
    assert TIME in {label for label, _, _ in said}
    assert [part.loop for part in parts[:3]] == ["class pictures", "aspl", ""]
    assert [part.share for part in parts[:3]] == [1, 1, 1]
    assert parts[1].work["training_steps"] == 12 and parts[1].work["vae_encode_backward"] == 8
