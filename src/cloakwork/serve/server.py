"""The program: listens at one address until it is stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.files import cache_folder, expand_home
from cloakwork.serve.limits import Limits
from cloakwork.serve.tokens import Tokens, read_tokens
from cloakwork.web.hosts import hosts, in_url, is_alone
from cloakwork.web.jobs import Worker
from cloakwork.web.process import Process
from cloakwork.web.server import QUIET, listening
from cloakwork.workflows.defaults import SERVED

PORT = 8766
WORK = "cloakwork.serve.work"


@dataclass(frozen=True)
class Settings:
    """How a service is run.

    Attributes:
        host: the address to listen at.
        port: None: the usual one, or any that is free.
        tokens: file with a token a line; None: everybody who reaches the address is let in.
        spool: folder of what is not delivered yet; None: in the user's cache.
        workers: processes that compute, or on a cluster replicas.
        protections: texts as on the command line, the first one the usual; none: SERVED.
        limits: how much is taken.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    tokens: Path | str | None = None
    spool: Path | str | None = None
    workers: int = 1
    protections: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def offered(self) -> dict[str, str]:
        """The protections by name."""
        return {p.partition(":")[0]: p for p in self.protections} or dict(SERVED)

    @property
    def place(self) -> Path:
        """The folder of the spool."""
        return cache_folder() / "spool" if self.spool is None else expand_home(self.spool)


def checked(settings: Settings) -> Tokens:
    """Return the tokens of a service, once its settings are found sound.

    Raises:
        UserError: others reach the address and there are no tokens, a file of tokens that is none,
            an unknown protection, no worker.
    """
    tokens = Tokens() if settings.tokens is None else read_tokens(settings.tokens)
    if not tokens and not is_alone(settings.host):
        raise UserError(
            f"Others reach {settings.host}, so the service needs tokens: give --tokens FILE, with "
            "a token a line. Or listen at 127.0.0.1."
        )
    if settings.workers < 1:
        raise UserError(f"There are {settings.workers} workers; give 1 or more.")
    from cloakwork import specs

    for protection in settings.offered.values():
        specs.parse("protections", protection, ["tiny"])
    return tokens


def needed(error: ImportError, extra: str = "serve") -> UserError:
    """Return the error of an extra that is not installed."""
    return UserError(
        f"The service needs the extra `{extra}` ({error}); run: pip install 'cloakwork[{extra}]'"
    )


def processes(workers: int) -> list[Process]:
    """Return processes that share the machine's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = str(max(1, (cores or 1) // workers))
    given = os.environ.get("OMP_NUM_THREADS", threads)
    return [Process(WORK, {"OMP_NUM_THREADS": given}) for _ in range(workers)]


def serve(settings: Settings, *, say: Callable[[str], None] = print) -> None:
    """Serve until the program is stopped; what is done and not fetched stays for the next start.

    Args:
        settings: how.
        say: called with the address.

    Raises:
        UserError: see `checked`; or the port is taken, the spool is another service's, or the extra
            is not installed.
    """
    run(settings, checked(settings), processes(settings.workers), say)


def run(
    settings: Settings, tokens: Tokens, workers: Sequence[Worker], say: Callable[[str], None]
) -> None:
    """Answer requests until the program is stopped; see `serve`."""
    try:
        import uvicorn

        from cloakwork.serve.app import create_app
        from cloakwork.serve.spool import held
    except ImportError as error:
        raise needed(error) from None
    with listening(settings.host, settings.port, PORT) as taken, held(settings.place) as spool:
        number = taken.getsockname()[1]
        app = create_app(
            spool,
            workers,
            tokens=tokens,
            hosts=hosts(number),
            limits=settings.limits,
            protections=settings.offered,
        )
        say(told(settings, number, len(spool)))
        uvicorn.Server(uvicorn.Config(app, **QUIET)).run(sockets=[taken])


def told(settings: Settings, port: int, found: int) -> str:
    """Return what is said at the start."""
    who = "with a token" if settings.tokens else "from this machine alone, without a token"
    lines = [
        f"The service is at http://{in_url(settings.host)}:{port}, to be asked {who}. "
        "Ctrl-C ends it.",
        f"Protections: {', '.join(settings.offered.values())}. Spool: {settings.place}",
    ]
    if found:
        lines.append(f"Jobs of before that wait to be fetched: {found}.")
    return "\n".join(lines)
