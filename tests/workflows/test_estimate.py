from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloakwork.files import cache_folder
from cloakwork.protections import aspl, photoguard, pid
from cloakwork.workflows import dry_run, estimate, workload
from cloakwork.workflows.dry_run import count, run_hollow
from cloakwork.workflows.protect import protect

SHORT = replace(aspl.PRESETS["tiny"], outer=1, pgd_steps=2, class_images=2)


def said(files: list[Path], out: Path, model: str, **how: Any) -> tuple[list[str], list[bytes]]:
    """Return what a job says beforehand, and the bytes that it writes."""
    sentences: list[str] = []
    (result,) = protect(files, out, surrogates=model, say=sentences.append, **how)
    return sentences, [p.output.read_bytes() for p in result.photos]


def test_a_trial_changes_no_byte_and_leaves_nothing(
    sample_files: list[Path], tmp_path: Path, small_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "WORTH_SAYING", 0)
    monkeypatch.setenv("CLOAKWORK_CACHE", str(tmp_path / "cache"))
    how: dict[str, Any] = {"protection": "aspl", "config": SHORT}
    (sentence,), after_trial = said(sample_files[:2], tmp_path / "a", small_name, **how)
    assert sentence == "This takes less than a minute for 2 photos."
    assert {p.name.partition("-")[0] for p in cache_folder().iterdir()} == {"class"}
    (plain,) = protect(sample_files[:2], tmp_path / "b", surrogates=small_name, **how)
    assert [p.output.read_bytes() for p in plain.photos] == after_trial


def test_nothing_is_said_of_short_and_of_finished_jobs(
    sample_files: list[Path], tmp_path: Path, small_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"protection": "pid", "config": replace(pid.PRESETS["tiny"], steps=2)}
    assert said(sample_files[:1], tmp_path, small_name, **how)[0] == []
    monkeypatch.setattr(estimate, "WORTH_SAYING", 0)
    assert said(sample_files[:1], tmp_path, small_name, **how)[0] == []  # done before
    assert len(said(sample_files[:1], tmp_path, small_name, **how, force=True)[0]) == 1


def test_the_time_is_the_passes_times_the_seconds_of_each(
    sample_files: list[Path], tmp_path: Path, small_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute a gradient, three of them, for as many photos as were tried."""
    seconds = {estimate.GRADIENT: 60.0, estimate.LESSON: 0.0}  # class pictures were kept
    monkeypatch.setattr(estimate, "_trial", lambda *_: seconds)
    monkeypatch.setattr(estimate, "_around", lambda *_: 0.0)
    config = replace(aspl.PRESETS["tiny"], outer=1, pgd_steps=3, class_images=0)
    how = {"protection": "aspl", "config": config}
    assert count(aspl, config, photos=2).vae_encode_backward == 3
    (sentence,), _ = said(sample_files[:2], tmp_path, small_name, **how)
    assert sentence == "This takes about 3 minutes for 2 photos."
    # the quick one's hundred gradients are more
    seconds[estimate.GRADIENT] = 600.0 / 3
    (sentence,), _ = said(sample_files[:2], tmp_path, small_name, **how, force=True)
    assert "10 minutes" in sentence and "pid" not in sentence


def test_one_count_serves_the_estimate_and_the_forecast(
    sample_files: list[Path], tmp_path: Path, small_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def hollow(*args: Any, photos: int, **how: Any) -> None:
        counted.append(photos)
        run_hollow(*args, photos=photos, **how)

    for module in (dry_run, workload):
        monkeypatch.setattr(module, "run_hollow", hollow)
    monkeypatch.setattr(estimate, "_trial", lambda *_: {estimate.GRADIENT: 0.1})
    config = replace(aspl.PRESETS["tiny"], outer=1, pgd_steps=1, class_images=0)
    how: dict[str, Any] = {"protection": "aspl", "config": config}
    said(sample_files[:2], tmp_path, small_name, **how, progress=lambda *_: None)
    assert counted == [2]


def test_the_quick_protection_is_named_where_it_is_quicker(
    sample_files: list[Path], tmp_path: Path, small_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        estimate, "seconds_expected", lambda job, *_: {"pid": 120}.get(job.method.name, 840)
    )
    config = replace(photoguard.PRESETS["tiny"], steps=1)
    how = {"protection": "photoguard", "config": config}
    (sentence,), _ = said(sample_files[:1], tmp_path, small_name, **how)
    assert sentence == (
        "This takes about 14 minutes for 1 photo; --protection pid:lasting takes about 2 minutes."
    )


def test_a_trial_that_fails_does_not_stop_the_job(
    sample_files: list[Path], tmp_path: Path, small_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(estimate, "_trial", broken)
    how = {"protection": "pid", "config": replace(pid.PRESETS["tiny"], steps=1)}
    assert said(sample_files[:1], tmp_path, small_name, **how)[0] == []
