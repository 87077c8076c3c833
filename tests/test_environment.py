"""The memory that a process took."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from cloakwork.environment import peak_memory_mb


def test_a_process_does_not_count_the_memory_of_the_one_that_started_it() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells the two apart")
    np.ones(100_000_000)  # 800 MB
    assert peak_memory_mb() >= 800
    code = "from cloakwork.environment import peak_memory_mb as peak; print(peak())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 10 < int(done.stdout) < 750
