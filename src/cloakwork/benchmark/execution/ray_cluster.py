"""The connection to a Ray cluster: to one that runs already, or to one of this machine's cores that
ends with the work.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from typing import Any

import torch

from cloakwork.benchmark.execution.ray_worker import first_line
from cloakwork.errors import UserError

MODE = "RAY_AUTH_MODE"  # variable of the environment: whether Ray asks for a token
PATIENCE = 20  # seconds in which a cluster must answer


@contextmanager
def connected(address: str | None = None, workers: int | None = None) -> Iterator[None]:
    """Connect to a Ray cluster for as long as the block takes: the one at an address, else one of
    this machine, which ends with the block.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached or started.
    """
    try:
        import ray
    except ImportError as error:
        advice = 'install it with: pip install "cloakwork[ray]", or take the engine serial.'
        raise UserError(f"The engine ray needs Ray, which is not installed; {advice}") from error
    if ray.is_initialized():  # the caller's, who will also end it
        yield
        return
    if address is not None:
        _check_address(address)
    # The folder is for Ray's sockets, whose paths must be short. It is entered because Ray would
    # have workers import from the working folder first, where a file may bear the name of an
    # installed package.
    with tempfile.TemporaryDirectory(
        prefix="cw-", dir=_short_folder(), ignore_cleanup_errors=True
    ) as folder:
        try:
            # by default Ray's workers yield to all other processes
            with chdir(folder), _environment(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0"):
                _init(address, workers, folder)
            with _tidy_end():
                yield
        finally:
            ray.shutdown()


def _init(address: str | None, workers: int | None, folder: str) -> None:
    import ray

    if address is None:
        # Its services listen on all addresses, and do what they are told. Without this variable
        # Ray sets it to "token", and they refuse whoever does not know the user's token.
        os.environ.pop(MODE, None)
        threads = torch.get_num_threads()
        workers = workers or max(1, (os.cpu_count() or 1) // threads)
        # nothing but the graph will lie in the object store
        options: dict[str, Any] = {
            "address": "local",
            "num_cpus": workers * threads,
            "object_store_memory": 2**28,
            "include_dashboard": False,
            "_temp_dir": folder,
        }
    else:
        options = {"address": address}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, RuntimeError, ValueError) as error:
        where = (
            f"The cluster at {address} cannot be used" if address else "Ray cannot be started here"
        )
        raise UserError(
            f"{where} ({first_line(error)}); mend that, or take the engine serial."
        ) from error
    if address is None and os.environ.get(MODE) != "token":
        raise UserError(
            f"Ray {ray.__version__} would do what anybody on the network tells it. "
            "Install another version, or take the engine serial."
        )


@contextmanager
def _tidy_end() -> Iterator[None]:
    """Let SIGTERM, which batch systems send, end the block as Ctrl-C does; Ray would end the
    process on the spot.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _short_folder() -> str | None:
    return "/tmp" if os.access("/tmp", os.W_OK) else None


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        os.environ.update(before)


def _check_address(address: str) -> None:
    """Ask first, and in a process of its own, since Ray tries for minutes and then ends the
    process that asked.
    """
    if address.startswith("ray://"):
        raise UserError(
            f"{address} is an address for Ray's client; run this on a machine of the cluster, with "
            "the address auto."
        )
    probe = (
        "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='error')"
    )
    try:
        if address != "auto":
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), PATIENCE / 4).close()
        subprocess.run(
            [sys.executable, "-c", probe, address],
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
    except (subprocess.SubprocessError, OSError, ValueError):
        raise UserError(
            f"No Ray cluster answers at '{address}'; on a machine of the cluster give auto, or the "
            "host:port that `ray start --head` has shown."
        ) from None
