"""The OpenAPI schema, tried with what nobody would send: the service does as it says there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import schema_hooks
from helpers.service import Copier, served

from cloakwork.serve.limits import Limits
from cloakwork.serve.tokens import Tokens

TOKEN = "0123456789abcdef"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    limits = Limits(jobs=100_000, keep_seconds=60)
    how = {"workers": [Copier()], "tokens": Tokens([TOKEN]), "limits": limits}
    with served(tmp_path / "spool", **how) as client:
        address = str(client.base_url).rstrip("/")
        words = ["run", f"{address}/openapi.json", "-H", f"Authorization: Bearer {TOKEN}"]
        words += ["--max-examples", "30", "--seed", "1", "--no-color"]
        found = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", *words],
            check=False,
            env=os.environ
            | {
                "SCHEMATHESIS_HOOKS": "schema_hooks",
                "PYTHONPATH": str(Path(schema_hooks.__file__).parent),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    assert found.returncode == 0, found.stdout + found.stderr
