"""Steps on a Ray cluster of this machine: the same bytes as one process gives, after kills and
failures too."""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from helpers.small_grid import contents, grid

from cloakwork.benchmark.execution import ray_cluster, ray_driver, ray_worker, resources, serial
from cloakwork.benchmark.execution.failures import Failure, dependency_failure
from cloakwork.benchmark.execution.ready_queue import Queue, TaskResult
from cloakwork.benchmark.execution.resources import Resources
from cloakwork.errors import Unwritable, UserError
from cloakwork.evaluation import steps
from cloakwork.evaluation.sources import source
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.protections import noise
from cloakwork.specs import Method

ray = pytest.importorskip("ray")

LAB = '''
"""A purifier that notes who runs it, and may be slow, break or find the disk full."""
import os, time, torch
from dataclasses import dataclass
from pathlib import Path
from cloakwork.errors import Unwritable, UserError

VERSION = 1
USES_MODEL = "latent"

@dataclass(frozen=True)
class Config:
    notes: str
    number: int = 0
    seconds: float = 0
    fault: str = ""

def purify(photos, ldm, cfg, *, rng):
    with open(cfg.notes, "a") as file:
        file.write(f"{os.getpid()} {id(ldm)} {torch.get_num_threads()}\\n")
    time.sleep(cfg.seconds)
    if cfg.fault:
        raise {"full": Unwritable, "kettle": UserError}[cfg.fault]("The kettle is empty.")
    return photos
'''


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    """A cluster of two worker processes for all tests."""
    torch.set_num_threads(1)
    plain = [
        sys.executable,
        "-c",
        "import ray; ray.init(address='local', num_cpus=1, include_dashboard=False)",
    ]
    try:
        subprocess.run(plain, check=True, capture_output=True, timeout=120)
    except subprocess.SubprocessError:
        pytest.skip("Ray itself does not start on this machine, whoever starts it.")
    with ray_cluster.connected(workers=2):
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, sample_files: list[Path]) -> dict[str, bytes]:
    """What an undisturbed run in one process leaves."""
    store = tmp_path_factory.mktemp("whole")
    serial.serial(grid(sample_files), Workspace(store, "cpu"))
    return contents(store)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a module of the user's in it."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "my_lab").mkdir()
    (folder / "my_lab" / "odd.py").write_text(LAB)
    return folder


@pytest.fixture
def notes(lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(lab)
    return tmp_path / "notes"


def odd(
    files: list[Path],
    notes: Path,
    *,
    number: int = 0,
    seconds: float = 0.0,
    fault: str = "",
    model: bool = False,
) -> Step:
    from cloakwork import registry

    config = registry.load("purifiers", "my_lab.odd").Config(str(notes), number, seconds, fault)
    method, models = Method("purifiers", "my_lab.odd", config), ("tiny",) if model else ()
    # one photo, since purifiers are asked photo by photo and each call leaves a note
    return Step(method, (source(files[:1]),), models=models)


def finished(store: Path) -> dict[Path, int]:
    """When each result that is whole was written; a record alone, or what is being written, is
    none."""
    found = (
        p
        for p in store.glob("*/[!.]*")
        if p.suffix in (".safetensors", ".json") and not p.name.endswith(".record.json")
    )
    return {path: path.stat().st_mtime_ns for path in found}


def test_several_processes_give_the_bytes_of_one(
    sample_files: list[Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    bench, told = Workspace(tmp_path, "cpu"), []
    names = list(steps.graph(grid(sample_files), bench))
    outcome = ray_driver.run(grid(sample_files), bench, lambda *what: told.append(what))
    assert sorted(outcome.made) == sorted(names) and not outcome.failed
    assert [what[:2] for what in told] == [(i, 20) for i in range(1, 21)] and {
        what[2] for what in told
    } == set(names)
    assert contents(tmp_path) == whole and not list(tmp_path.rglob("*.claim"))
    again = ray_driver.run(grid(sample_files), Workspace(tmp_path, "cpu"))
    assert not again.made and not again.failed


def test_workers_keep_their_models_and_the_drivers_threads(
    sample_files: list[Path], tmp_path: Path, notes: Path
) -> None:
    targets = [odd(sample_files, notes, number=n, seconds=0.1, model=True) for n in range(8)]
    assert not ray_driver.run(targets, Workspace(tmp_path / "store", "cpu")).failed
    lines = [line.split() for line in notes.read_text().splitlines()]
    processes = {pid for pid, *_ in lines}
    assert len(lines) == 8 and len(processes) == 2 and str(os.getpid()) not in processes
    assert len({(pid, model) for pid, model, _ in lines}) == 2, (
        "one model a process, whatever the number of its tasks"
    )
    torch.set_num_threads(2)
    try:
        ray_driver.run([odd(sample_files, notes, number=9)], Workspace(tmp_path / "store", "cpu"))
        assert notes.read_text().splitlines()[-1].endswith(" 2") and {
            threads for *_, threads in lines
        } == {"1"}
        torch.set_num_threads(3)
        with pytest.raises(UserError, match="needs 3 processors on one machine"):
            ray_driver.run(grid(sample_files), Workspace(tmp_path / "store", "cpu"))
    finally:
        torch.set_num_threads(1)


def test_a_killed_worker_costs_no_more_than_its_step(
    sample_files: list[Path], tmp_path: Path, notes: Path, whole: dict[str, bytes]
) -> None:
    slow, killed = odd(sample_files, notes, seconds=2), []

    def kill(*_: object) -> None:
        if not killed and notes.exists():
            killed.append(int(notes.read_text().split()[0]))
            os.kill(killed[0], signal.SIGKILL)

    bench = Workspace(tmp_path / "store", "cpu")
    outcome = ray_driver.run([slow, *grid(sample_files)], bench, kill)
    assert killed and len(outcome.made) == 21 and not outcome.failed
    first, second = (int(line.split()[0]) for line in notes.read_text().splitlines())
    assert first == killed[0] != second, "begun twice, by two processes"
    assert steps.cached(slow, bench)
    bench.results.drop(steps.name_of(slow, bench))
    assert (
        contents(tmp_path / "store") == whole
        and not list(tmp_path.rglob("*.claim"))
        and not list(tmp_path.rglob("*.part*"))
    )


def test_a_step_whose_worker_is_lost_too_often_fails(
    sample_files: list[Path], tmp_path: Path, notes: Path
) -> None:
    slow, stop = odd(sample_files, notes, seconds=5), threading.Event()

    def kill() -> None:
        while not stop.wait(0.1):
            for line in notes.read_text().splitlines() if notes.exists() else ():
                if psutil.pid_exists(int(line.split()[0])):
                    os.kill(int(line.split()[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        outcome = ray_driver.run([slow], Workspace(tmp_path / "store", "cpu"), retries=0)
    finally:
        stop.set()
        killer.join()
    (failure,) = outcome.failed.values()
    assert failure.reason.startswith("WorkerCrashedError: ") and not outcome.made


def test_a_step_that_raises_fails_with_what_rests_on_it(
    sample_files: list[Path], tmp_path: Path, notes: Path, whole: dict[str, bytes]
) -> None:
    broken = odd(sample_files, notes, fault="kettle")
    method = Method("protections", "noise", noise.Config(budget=2))
    targets = [*grid([*sample_files]), Step(method, (broken,))]
    there, here = (
        engine(targets, Workspace(tmp_path / name, "cpu"))
        for name, engine in (("a", ray_driver.run), ("b", serial.serial))
    )
    assert there.failed == here.failed and len(there.failed) == 2
    assert next(iter(there.failed.values())) == Failure("UserError: The kettle is empty.")
    assert len(there.made) == 20 and contents(tmp_path / "a") == whole


def test_a_full_disk_stops_the_run(sample_files: list[Path], tmp_path: Path, notes: Path) -> None:
    with pytest.raises(Unwritable, match=r"^The kettle is empty\.$"):
        ray_driver.run(
            [odd(sample_files, notes, fault="full"), *grid(sample_files)],
            Workspace(tmp_path / "store", "cpu"),
        )


def test_what_others_are_at_is_waited_for(
    sample_files: list[Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    bench = Workspace(tmp_path, "cpu")
    name, ready = next(iter(steps.graph(grid(sample_files), bench))), threading.Event()

    def hold() -> None:
        with bench.results.claimed(name):
            ready.set()
            end = time.monotonic() + 120
            while not finished(tmp_path) and time.monotonic() < end:  # until something else is done
                time.sleep(0.05)

    other = threading.Thread(target=hold)
    other.start()
    ready.wait()
    outcome = ray_driver.run(grid(sample_files), bench)
    other.join()
    assert len(outcome.made) == 20 and outcome.made.index(name) > 0 and contents(tmp_path) == whole


CHILD = """
import signal, sys, torch; torch.set_num_threads(1)
# a shell that runs tests in the background has it ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
sys.path.insert(0, {tests!r})
from helpers.small_grid import grid
from cloakwork.benchmark.execution import ray_driver
from cloakwork.evaluation.steps import Workspace
address, store, *files = sys.argv[1:]
targets = grid([Path(f) for f in files])
outcome = ray_driver.run(targets, Workspace(store, "cpu"), address=address or None, workers=2)
print(len(outcome.made))
"""


def child(address: str, store: Path, files: list[Path]) -> subprocess.Popen[str]:
    """A driver of its own, with a folder for temporary files whose path is too long for a
    socket."""
    long = store.parent / ("long" * 30)
    long.mkdir(exist_ok=True)
    code, environment = (
        CHILD.format(tests=str(Path(__file__).parents[1])),
        os.environ | {"TMPDIR": str(long)},
    )
    command = [sys.executable, "-c", code, address, str(store), *map(str, files)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_a_cluster_that_runs_already(
    sample_files: list[Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    process = child(ray.get_runtime_context().gcs_address, tmp_path / "store", sample_files)
    said, complaints = process.communicate(timeout=120)
    assert (process.returncode, said, complaints) == (0, "20\n", "") and contents(
        tmp_path / "store"
    ) == whole
    assert [node["Alive"] for node in ray.nodes()] == [True], "it outlives its guests"


STRANGER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
print(ray.get(ray.remote(lambda: "done").remote()))
"""


def test_a_cluster_of_ones_own_takes_no_work_from_strangers() -> None:
    """Who listens on more than this machine asks for the token."""
    me = psutil.Process()
    family = {p.pid: p.name() for p in [me, *me.children(recursive=True)]}
    listeners = {
        family[c.pid]: c.laddr
        for c in psutil.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and c.pid in family
    }
    assert {"gcs_server", "raylet"} <= listeners.keys()
    if all(ipaddress.ip_address(at.ip).is_loopback for at in listeners.values()):
        return
    assert os.environ["RAY_AUTH_MODE"] == "token"
    address = ray.get_runtime_context().gcs_address
    stranger = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}
    command = [sys.executable, "-c", STRANGER, address]
    said = subprocess.run(
        command, env=stranger, capture_output=True, text=True, timeout=120, check=False
    )
    assert said.returncode and "done" not in said.stdout


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_ends_too_early(
    sample_files: list[Path], tmp_path: Path, whole: dict[str, bytes], sign: signal.Signals
) -> None:
    store = tmp_path / "store"
    process, begun = child("", store, sample_files), time.monotonic()
    while process.poll() is None and time.monotonic() - begun < 120 and len(finished(store)) < 3:
        time.sleep(0.01)
    # two agents of Ray's, which run no steps, take a minute to notice
    family = [
        p
        for p in psutil.Process(process.pid).children(recursive=True)
        if not p.name().endswith("Agent")
    ]
    folders = {Path(f) for p in family for f in re.findall(r"/tmp/cw-[^/]+", " ".join(p.cmdline()))}
    process.send_signal(sign)
    process.communicate(timeout=60)
    assert not psutil.wait_procs(family, timeout=60)[1], "its workers end with it"
    made = finished(store)
    assert process.returncode and folders and 3 <= len(made) < 20
    if sign == signal.SIGKILL:
        for folder in folders:
            subprocess.run(["rm", "-rf", str(folder)], check=True)
    assert not any(folder.exists() for folder in folders)
    outcome = ray_driver.run(grid(sample_files), Workspace(store, "cpu"))
    assert contents(store) == whole and not outcome.failed
    assert made.items() <= finished(store).items(), "nothing that was done is done again"


def test_a_cluster_that_does_not_answer(
    sample_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_cluster, "PATIENCE", 4)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        for address in (f"127.0.0.1:{port}", "127.0.0.1:9", "nowhere.invalid:6379", "nonsense"):
            begun = time.monotonic()
            with pytest.raises(UserError, match=f"No Ray cluster answers at '{address}'") as caught:
                ray_driver.run(grid(sample_files), Workspace(tmp_path, "cpu"), address=address)
            assert len(caught.value.sentences) == 1 and time.monotonic() - begun < 10
    with pytest.raises(UserError, match="with the address auto"):
        ray_driver.run(
            grid(sample_files), Workspace(tmp_path, "cpu"), address="ray://127.0.0.1:10001"
        )
    assert not contents(tmp_path)


def test_without_ray(
    sample_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'pip install "cloakwork\[ray\]"'):
        ray_driver.run(grid(sample_files), Workspace(tmp_path, "cpu"))
    with pytest.raises(UserError, match="0 workers and -1 retries"):
        ray_driver.run(grid(sample_files), Workspace(tmp_path, "cpu"), workers=0, retries=-1)


def test_a_worker_that_would_make_something_else_says_so(
    sample_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bench = Workspace(tmp_path, "cpu")
    name, step = next(iter(steps.graph(grid(sample_files), bench).items()))
    about = ray_worker.DriverEnvironment(str(tmp_path), str(tmp_path), "cpu", 1, False)
    other = f"protect/{'0' * 32}.safetensors"
    result = ray_worker.make(other, [ray.put(about), ray.put({other: step})])
    assert result.finished and not result.made
    assert result.error and "would make another result" in result.error.reason
    made = ray_worker.make(name, [ray.put(about), ray.put({name: step})])
    assert made == TaskResult(finished=True, made=True)


def test_what_a_task_asks_of_a_machine(
    sample_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = Step(Method("protections", "noise", noise.Config()), (source(sample_files),))
    method, photos = Method("protections", "noise", noise.Config()), (source(sample_files),)
    hub = Step(method, photos, models=("somebody/model",))
    assert resources.of_one(noisy, "cpu", 10**12) == Resources(1, 0, 2 * 10**9)
    assert resources.of_one(noisy, "cuda", 10**9) == Resources(1, resources.GPU_SHARE, 10**9)
    assert resources.of_one(hub, "cuda", 10**12) == Resources(1, 1, 8 * 10**9)
    monkeypatch.setattr(noise, "GPUS", 0.5, raising=False)
    monkeypatch.setattr(noise, "MEMORY_GB", 3, raising=False)
    assert resources.of_one(hub, "cuda", 10**12) == Resources(1, 0.5, 3 * 10**9)
    nodes = [{"CPU": 8.0, "GPU": 1.0, "memory": 64e9}, {"CPU": 4.0, "memory": 5e9}]
    assert [
        Resources(1, 0, 10**9).slots(nodes),
        Resources(1, 0.5, 10**9).slots(nodes),
        Resources(2, 0, 2 * 10**9).slots(nodes),
    ] == [12, 2, 6]
    assert Resources(1, 0, 0).slots([]) == 0
    with pytest.raises(UserError, match=r"1 processor and 0\.5 GPU on one machine") as caught:
        resources.resources_for([noisy, hub], "cuda", [{"CPU": 8.0, "memory": 64e9}])
    assert len(caught.value.sentences) == 1


def test_the_queue_keeps_order_room_and_count() -> None:
    # 0 and 1 are free, 2 rests on both, 3 on 2; 4 is of another pool
    queue = Queue(["a", "b", "c", "d", "e"], [[], [], [0, 1], [2], []], ["p", "p", "p", "p", "q"])
    room = {"p": 1, "q": 1}
    assert list(queue.start(room, most=1)) == [0] and list(queue.start(room)) == [4]
    busy, made = TaskResult(finished=False), TaskResult(finished=True, made=True)
    assert queue.complete(0, busy, again=0.05) == [] and queue.left == 5
    assert list(queue.start(room)) == [1], "what others are at rests for a while"
    time.sleep(0.06)
    assert list(queue.start({"p": 2, "q": 1})) == [0]
    assert queue.complete(0, made, 0) == [0]
    assert not list(queue.start({"p": 1, "q": 1}))
    failure = Failure("E: no", "not_finite")
    assert queue.complete(1, TaskResult(finished=True, error=failure), 0) == [1, 2, 3]
    assert queue.complete(4, TaskResult(finished=True), 0) == [4]
    assert not queue.left and queue.outcome.made == ["a"]
    assert queue.outcome.failed == {
        "b": failure,
        "c": dependency_failure("b"),
        "d": dependency_failure("c"),
    }
    assert set(queue.outcome.reasons().values()) == {failure}


def test_the_queue_is_as_quick_for_many_steps() -> None:
    def cpu(n: int) -> float:
        begun = time.process_time()
        queue = Queue(
            [str(i) for i in range(n)], [[i - 1] if i % 10 else [] for i in range(n)], ["p"] * n
        )
        while queue.left:
            for number in list(queue.start({"p": 8})):
                queue.complete(number, TaskResult(finished=True, made=True), 0)
        assert len(queue.outcome.made) == n
        return time.process_time() - begun

    few = min(cpu(10_000) for _ in range(3))
    assert cpu(100_000) < 20 * few + 1, "ten times the steps"
