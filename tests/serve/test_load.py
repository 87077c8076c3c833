"""The load script, on a service whose worker computes nothing."""

from __future__ import annotations

import asyncio
import importlib
import json
from pathlib import Path

import pytest
from helpers.service import Copier, served

from cloakwork.serve.limits import Limits

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_clients_fetch_all_their_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    load = importlib.import_module("load")
    photos = load.squares(64)
    with served(tmp_path / "spool", workers=[Copier()], limits=Limits(jobs=50)) as client:
        level = asyncio.run(load.measured(str(client.base_url), 3, 7, photos, method="noise"))
        assert client.get("/healthz").json()["waiting"] == 0
        told = client.get("/metrics").text
    assert len(level.seconds) == 7 and level.wall >= max(level.seconds) > 0 == level.refused
    assert 'cloakwork_jobs_total{state="done"} 7.0' in told
    assert "cloakwork_jobs_kept 0.0" in told


def test_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    table = importlib.import_module("load_table")
    row = {"clients": 4, "photos": 9, "photos_a_minute": 120.4, "p50": 0.51, "p99": 1.25}
    row |= {"cpu_seconds": 0.3, "refused": 0, "photos_so_far": 9, "megabytes": 900}
    made = {"workers": 2, "cores": 2, "side": 512, "rows": [row], "megabytes_at_start": 880}
    (tmp_path / "load.json").write_text(json.dumps({"learned": made}))
    head, _, line, _, told = table.load(tmp_path)
    assert head.count("|") == line.count("|")
    assert line == "| `learned` | 4 | 120 | 0.51 | 1.25 | 0.30 | 900 (after 9 photos) |"
    assert "2 workers on 2 cores" in told and "880 MB" in told
