"""The store: results with records, claims, several processes at once, what is damaged, what is
newer."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest
import torch

from cloakwork.errors import UserError
from cloakwork.evaluation import claims, store
from cloakwork.evaluation.store import open_store
from cloakwork.files.tensors import save_tensors

NAME = "attack/0123.safetensors"


@pytest.fixture(params=["folder", "url"])
def two(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[store.Store, store.Store]:
    """The same store as two machines see it."""
    if request.param == "folder":
        return open_store(tmp_path / "store"), open_store(tmp_path / "store")
    url, found = f"memory://{tmp_path.name}/store", []
    for machine in ("a", "b"):
        monkeypatch.setenv("CLOAKWORK_CACHE", str(tmp_path / machine))
        found.append(open_store(url))
    return found[0], found[1]


def put(place: store.Store, text: str = "result") -> Path:
    return place.keep(NAME, lambda path: path.write_text(text) and None, {"seconds": 3})


def test_a_result_and_its_record(two: tuple[store.Store, store.Store]) -> None:
    here, there = two
    assert here.find(NAME) is None and not there.has(NAME) and there.record(NAME) == {}
    put(here)
    assert there.has(NAME)
    found = there.find(NAME)
    assert found and found.read_text() == "result"
    record = there.record(NAME)
    assert record["seconds"] == 3 and {"sha256", "host", "made_by", "when"} <= set(record)
    assert [r["sha256"] for r in there.records()] == [record["sha256"]]


@pytest.mark.parametrize("damaged", ["result", "record"])
def test_what_is_damaged_is_thrown_away(tmp_path: Path, damaged: str) -> None:
    place = open_store(tmp_path)
    path = put(place)
    (path if damaged == "result" else path.with_suffix(".record.json")).write_text("resulx")
    with pytest.warns(UserWarning, match="is made again"):
        assert place.find(NAME) is None
    assert not place.has(NAME) and place.record(NAME) == {}
    assert put(place).read_text() == "result" and place.find(NAME)


def test_a_damaged_mirror_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOAKWORK_CACHE", str(tmp_path / "a"))
    place = open_store(f"memory://{tmp_path.name}/mirror")
    path = put(place)
    path.write_text("resulx")
    found = place.find(NAME)
    assert found and found.read_text() == "result"
    fsspec.filesystem("memory").pipe_file(f"/{tmp_path.name}/mirror/{NAME}", b"resulx")
    path.unlink()
    with pytest.warns(UserWarning, match="is made again"):
        assert place.find(NAME) is None
    assert not place.has(NAME), "damaged at its source"


def test_results_without_a_record_are_taken(tmp_path: Path) -> None:
    place = open_store(tmp_path)
    (tmp_path / "attack").mkdir()
    save_tensors(tmp_path / NAME, {"old": torch.ones(1)})
    assert place.find(NAME) == tmp_path / NAME
    (tmp_path / NAME).write_text("torn")
    with pytest.warns(UserWarning, match="is made again"):
        assert place.find(NAME) is None


def test_a_claim_is_one_processs(two: tuple[store.Store, store.Store]) -> None:
    here, there = two
    with here.claimed(NAME) as ours, there.claimed(NAME) as theirs:
        assert ours and not theirs
    with there.claimed(NAME) as ours:
        assert ours, "it was given back"
    with pytest.raises(RuntimeError), here.claimed(NAME):
        raise RuntimeError
    with there.claimed(NAME) as ours:
        assert ours, "failures give it back too"


def test_a_dead_owners_claim_is_taken_over(tmp_path: Path) -> None:
    place = open_store(tmp_path)
    code = (
        "import os, sys; from cloakwork.evaluation.store import open_store\n"
        f"with open_store({str(tmp_path)!r}).claimed({NAME!r}) as ours:\n"
        "    print(ours, flush=True); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    claim = tmp_path / "attack/0123.claim"
    assert done.stdout == "True\n" and claim.is_file()
    with place.claimed(NAME) as ours:
        assert ours and json.loads(claim.read_text())["pid"] == os.getpid()


def test_without_signs_of_life_a_claim_is_lost(
    two: tuple[store.Store, store.Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner lives, as a process that hangs, or on a machine that is gone."""
    here, there = two
    with here.claimed(NAME):
        monkeypatch.setattr(claims, "LOST", -1)
        with there.claimed(NAME) as theirs:
            assert theirs
            monkeypatch.setattr(claims, "LOST", 60)
            with here.claimed(NAME) as again:
                assert not again
    with there.claimed(NAME) as ours:
        assert ours


def test_an_owner_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.05)
    place, claim = open_store(tmp_path), tmp_path / "attack/0123.claim"
    with place.claimed(NAME):
        os.utime(claim, (1, 1))
        time.sleep(0.5)
        assert time.time() - claim.stat().st_mtime < 10
    assert not claim.exists()


def test_of_many_who_come_at_once_one_gets_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from cloakwork.evaluation.store import open_store\n"
        f"place = open_store({str(tmp_path)!r})\n"
        "while time.time() < float(sys.argv[1]): pass\n"
        f"with place.claimed({NAME!r}) as ours: print(ours); time.sleep(3)"
    )
    start = str(time.time() + 4)
    run = [
        subprocess.Popen([sys.executable, "-c", code, start], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    said = [process.communicate()[0].strip() for process in run]
    assert sorted(said) == ["False"] * 5 + ["True"]


def test_a_newer_versions_store_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 2, "made_by": "9.0"}')
    with pytest.raises(
        UserError, match=r"was written by cloakwork 9\.0 \(format 2; this one reads 1\)"
    ):
        open_store(tmp_path)


@pytest.mark.parametrize("where", ["nosuch://bucket/store", "file"])
def test_what_cannot_be_a_store(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be reached|could not be written"):
        open_store(where if "://" in where else tmp_path / where)


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    place = open_store(tmp_path)
    put(place, "before")

    def full(path: Path) -> None:
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="No space left on device"):
        place.keep("attack/4567.safetensors", full, {})
    assert [p.name for p in sorted((tmp_path / "attack").iterdir())] == [
        "0123.record.json",
        "0123.safetensors",
    ]


def test_remote_results_appear_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = open_store(f"memory://{tmp_path.name}/whole")
    fs = fsspec.filesystem("memory")
    monkeypatch.setattr(type(fs), "mv", lambda *a, **k: (_ for _ in ()).throw(OSError("cut off")))
    with pytest.raises(UserError, match="cut off"):
        put(place)
    assert not place.has(NAME) and place.find(NAME) is None


@pytest.mark.parametrize(
    "header",
    ["", "[]", "null", "{}", '{"format": null}', '{"format": "1"}', "\xff", "[" * 200_000],
)
def test_a_damaged_store_is_one_sentence(tmp_path: Path, header: str) -> None:
    (tmp_path / "store.json").write_text(header, encoding="latin-1")
    with pytest.raises(UserError, match=r"store\.json is damaged"):
        open_store(tmp_path)


def test_a_newer_store_that_does_not_say_who_made_it(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match="format 99; this one reads 1"):
        open_store(tmp_path)


@pytest.mark.parametrize("url", ["reference://a/b", "dbfs://a/b", "jupyter://a/b", "nothing://a"])
def test_a_place_that_cannot_be_reached_is_one_sentence(url: str) -> None:
    with pytest.raises(UserError, match="cannot be reached"):
        open_store(url)


@pytest.mark.parametrize("token", [b"", b"{", b"[]", b"\xff", b"[" * 200_000, b'{"host": 5}'])
def test_a_damaged_claim_is_anothers_until_it_is_old(tmp_path: Path, token: bytes) -> None:
    place, claim = open_store(tmp_path), tmp_path / "attack/0123.claim"
    claim.parent.mkdir()
    claim.write_bytes(token)
    with place.claimed(NAME) as ours:
        assert not ours
    os.utime(claim, (1, 1))
    with place.claimed(NAME) as ours:
        assert ours
    assert not claim.exists()


def test_a_claim_of_no_process_is_lost(tmp_path: Path) -> None:
    place, claim = open_store(tmp_path), tmp_path / "attack/0123.claim"
    claim.parent.mkdir()
    claim.write_text(json.dumps({"host": platform.node(), "pid": 10**30}))
    with place.claimed(NAME) as ours:
        assert ours


def test_a_folder_in_a_claims_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "attack/0123.claim").mkdir(parents=True)
    with (
        pytest.raises(UserError, match="take away what is in its place"),
        open_store(tmp_path).claimed(NAME),
    ):
        pass


@pytest.mark.parametrize("damage", ["[]", '{"seconds": "3"}', "{", "[" * 200_000])
def test_damaged_records_are_passed_over(tmp_path: Path, damage: str) -> None:
    place = open_store(tmp_path)
    put(place).with_suffix(".record.json").write_text(damage)
    assert place.record(NAME) == {} and list(place.records()) == []


def test_what_killed_processes_left_beside_results_goes(tmp_path: Path) -> None:
    place = open_store(tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name, pid, made in (
        ("attack/done", dead.pid, True),
        ("attack/living", os.getpid(), True),
        ("attack/begun", dead.pid, False),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        token = json.dumps({"host": platform.node(), "pid": pid})
        path.with_suffix(".claim").write_text(token)
        path.with_suffix(".part.safetensors").write_text("a checkpoint")
        if made:
            place.keep(f"{name}.safetensors", lambda path: path.write_text("") and None, {})
    place.tidy()
    ends = ("claim", "part.safetensors", "record.json", "safetensors")
    assert {p.name for p in (tmp_path / "attack").iterdir()} == {
        *("done.record.json", "done.safetensors"),
        *(f"living.{end}" for end in ends),
        *(f"begun.{end}" for end in ends[:2]),
    }
