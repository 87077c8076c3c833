"""Steps that run here, beside others, after failures and kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.small_grid import contents, grid

from cloakwork.benchmark.execution import serial
from cloakwork.benchmark.execution.failures import Failure, failure_from, root_cause
from cloakwork.errors import NotFinite, Unwritable, UserError
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.steps import Workspace
from cloakwork.purifiers import blur


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, sample_files: list[Path]) -> dict[str, bytes]:
    """What an undisturbed run leaves."""
    store = tmp_path_factory.mktemp("whole")
    serial.serial(grid(sample_files), Workspace(store, "cpu"))
    return contents(store)


def test_shared_steps_are_made_once(
    sample_files: list[Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    bench, told = Workspace(tmp_path, "cpu"), []
    names = list(steps.graph(grid(sample_files), bench))
    assert len(names) == 20 and len(set(names)) == 20
    outcome = serial.serial(grid(sample_files), bench, lambda *what: told.append(what))
    assert outcome.made == names and not outcome.failed
    assert [what[:2] for what in told] == [(i, 20) for i in range(1, 21)]
    assert contents(tmp_path) == whole and not list(tmp_path.rglob("*.claim"))
    again = serial.serial(grid(sample_files), Workspace(tmp_path, "cpu"))
    assert not again.made and not again.failed


def test_only_what_is_missing_is_made(
    sample_files: list[Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    bench = Workspace(tmp_path, "cpu")
    serial.serial(grid(sample_files), bench)
    for name in steps.graph(grid(sample_files), bench):
        if name.startswith("purify"):
            bench.results.drop(name)
    assert not serial.serial(grid(sample_files), bench).made, (
        "nothing wanted rests on them any more"
    )
    (score, *_) = grid(sample_files)
    bench.results.drop(steps.name_of(score, bench))
    made = serial.serial(grid(sample_files), bench).made
    assert [name.partition("/")[0] for name in made] == ["purify", "score"]
    assert all(whole[name] == data for name, data in contents(tmp_path).items())


def test_a_damaged_result_is_made_again(
    sample_files: list[Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    bench = Workspace(tmp_path, "cpu")
    serial.serial(grid(sample_files), bench)
    protected = next(name for name in whole if name.startswith("protect"))
    (tmp_path / protected).write_bytes(b"torn")
    (score, *_) = grid(sample_files)
    for name in steps.graph([score], bench):
        if not name.startswith("protect"):
            bench.results.drop(name)
    with pytest.warns(UserWarning, match="is not what its record says"):
        serial.serial(grid(sample_files), bench)
        compute.make(
            next(s for n, s in steps.graph(grid(sample_files), bench).items() if n == protected),
            bench,
        )
    assert contents(tmp_path) == whole


def test_a_step_that_raises_fails_with_what_rests_on_it(
    sample_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_, **__):
        raise UserError("The kettle is empty.")

    monkeypatch.setattr(blur, "purify", breaks)
    bench = Workspace(tmp_path, "cpu")
    outcome = serial.serial(grid(sample_files), bench)
    failures = list(outcome.failed.values())
    kettle = Failure("UserError: The kettle is empty.", "other")
    assert len(failures) == 6 and failures.count(kettle) == 2
    rests = [f for f in failures if f.kind == "dependency"]
    assert len(rests) == 4
    assert all(f.reason == f"{f.because_of}, which it rests on, failed" for f in rests)
    assert all(f.because_of in outcome.failed for f in rests)
    assert list(outcome.reasons().values()) == [kettle] * 6
    assert len(outcome.made) == 14
    monkeypatch.undo()
    assert len(serial.serial(grid(sample_files), bench).made) == 6, "the next run tries again"


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (UserError("No."), Failure("UserError: No.", "other")),
        (NotFinite("No."), Failure("UserError: No.", "not_finite")),
        (Unwritable("No."), Failure("UserError: No.", "unwritable")),
        (ValueError("is not finite"), Failure("ValueError: is not finite", "other")),
    ],
)
def test_the_kind_of_a_failure_is_that_of_the_error(error: Exception, failure: Failure) -> None:
    assert failure_from(error) == failure


def test_a_failure_is_traced_by_what_it_names_and_not_by_its_words() -> None:
    failures = {
        "a": Failure("b, which it rests on, failed", "not_finite"),
        "b": Failure("No photos.", "dependency", "a"),
        "c": Failure("Nor here.", "dependency", "b"),
        "d": Failure("Somebody else's.", "dependency", "elsewhere"),
    }
    assert [root_cause(name, failures) for name in "abcd"] == [failures[k] for k in "aaad"]


CHILD = """
import sys, torch; torch.set_num_threads(1)
from pathlib import Path
sys.path.insert(0, {tests!r})
from helpers.small_grid import grid
from cloakwork.benchmark.execution import serial
from cloakwork.evaluation.steps import Workspace
print(len(serial.serial(grid([Path(p) for p in sys.argv[2:]]), Workspace(sys.argv[1], "cpu")).made))
"""


def child(store: Path, files: list[Path]) -> subprocess.Popen[str]:
    code = CHILD.format(tests=str(Path(__file__).parents[1]))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(store), *map(str, files)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_share_the_work(
    sample_files: list[Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    made = [int(p.communicate()[0]) for p in [child(tmp_path, sample_files) for _ in range(2)]]
    assert 20 <= sum(made) <= 21, "each step once, or at most once more when they race"
    assert contents(tmp_path) == whole and not list(tmp_path.rglob("*.claim"))


def test_killed_and_resumed_is_the_same(
    sample_files: list[Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    for wanted in (1, 5):
        process, begun = child(tmp_path, sample_files), time.monotonic()
        while process.poll() is None and time.monotonic() - begun < 60:
            if len(list(tmp_path.glob("*/[!.]*.safetensors"))) >= wanted:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    serial.serial(grid(sample_files), Workspace(tmp_path, "cpu"))
    assert contents(tmp_path) == whole, (
        "nothing half-written; a dead process's claim on what is finished does no harm"
    )


def test_what_a_run_will_cost(sample_files: list[Path], tmp_path: Path) -> None:
    bench = Workspace(tmp_path, "cpu")
    before = {(e.kind, e.name): e for e in serial.expect(grid(sample_files), bench)}
    assert (
        before["score", "lpips"] == serial.Expected("score", "lpips", 6, 0, ())
        and before["purify", "jpeg"].left is None
    )
    serial.serial(grid(sample_files, (4,)), bench)
    after = {(e.kind, e.name): e for e in serial.expect(grid(sample_files), bench)}
    jpegs = after["purify", "jpeg"]
    assert (
        (jpegs.steps, jpegs.cached) == (2, 1)
        and jpegs.seconds is not None
        and jpegs.left == jpegs.seconds
    )
    for name in steps.graph(grid(sample_files, (4,)), bench):
        if name.startswith("purify"):
            bench.results.drop(name)
    (scored, purified) = (
        [e for e in serial.expect(grid(sample_files, (4,)), bench) if e.kind == kind]
        for kind in ("score", "purify")
    )
    assert all(e.todo == 0 for e in (*scored, *purified)), "the scores no longer need them"
