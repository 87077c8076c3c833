"""The package as people get it: a wheel in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST = 90 * 2**20  # bytes of the wheel


def run(*words: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(w) for w in words], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "package"),
    [(ROOT, "cloakwork"), (ROOT / "packages" / "cloakwork-tiny-dit", "cloakwork_tiny_dit")],
)
def test_a_wheel_holds_its_own_package_alone(folder: Path, package: str, tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path, folder, cwd=tmp_path)
    (wheel,) = tmp_path.glob(f"{package}-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert f"{package}/__init__.py" in names
    assert {n for n in names if not n.startswith((f"{package}/", f"{package}-"))} == set()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_wheel_runs_the_demo_in_an_empty_environment(tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("cloakwork-*.whl")
    assert wheel.stat().st_size < MOST
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    scripts = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    pinned = ("-c", ROOT / "constraints.txt")
    run(scripts / "python", "-m", "pip", "install", "-q", *pinned, wheel, cwd=tmp_path)
    said = run(scripts / "cloakwork", "demo", "-o", tmp_path / "demo", cwd=tmp_path)
    assert "before-after.html" in said
    made = [p.name for p in (tmp_path / "demo").glob("*.png")]
    assert {"chelsea.png", "coffee.png"} <= set(made)
