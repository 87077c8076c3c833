"""`cloakwork serve`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from cloakwork.cli.common import parse
from cloakwork.cli.terminal import say
from cloakwork.workflows.defaults import SERVED

USUAL = f"(repeatable, the first is the usual one; default: {' and '.join(SERVED.values())})"


@dataclass(frozen=True)
class ServeFlags:
    """Where the service is, what it offers, and how much it takes."""

    host: str = "127.0.0.1"
    """address to listen at; one that others reach needs --tokens"""
    port: Annotated[int | None, arg(help_behavior_hint="(default: 8766, or any that is free)")] = (
        None
    )
    """port to listen at"""
    tokens: Annotated[Path | None, arg(metavar="FILE")] = None
    """text file with a token a line; who asks has to show one"""
    protection: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="SPEC", help_behavior_hint=USUAL)
    ] = ()
    """what is offered: protections with their settings, as in pid:tiny:steps=20"""
    workers: int = 1
    """processes that compute, which share the cores; with --engine ray replicas on the cluster"""
    engine: Literal["local", "ray"] = "local"
    """where it is computed: on this machine, or by Ray Serve on a cluster (extra serve-ray)"""
    ray: Annotated[str | None, arg(metavar="ADDRESS")] = None
    """with --engine ray: a cluster that runs already, as in auto; else one of this machine's
    cores"""
    spool: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """folder of what is not delivered yet, else one in the user's cache"""
    queue: int = 100
    """photos that may wait; further ones are to be sent again later"""
    megabytes: float = 50
    """of one photo's file, at most"""
    megapixels: float = 50
    """of one photo, at most"""
    seconds: float = 600
    """that one photo may take, at most"""
    keep: Annotated[float, arg(metavar="SECONDS")] = 3600
    """after which results that nobody fetched are removed"""


def serve_command(words: list[str]) -> None:
    """Run `cloakwork serve`."""
    flags = parse(
        ServeFlags,
        "serve",
        "Protect photos for other programs, over HTTP. Results are removed once they are fetched.",
        words,
    )
    from cloakwork.serve.limits import MB, Limits
    from cloakwork.serve.server import Settings, serve

    settings = Settings(
        host=flags.host,
        port=flags.port,
        tokens=flags.tokens,
        spool=flags.spool,
        workers=flags.workers,
        protections=flags.protection,
        limits=Limits(
            photo_bytes=round(flags.megabytes * MB),
            pixels=round(flags.megapixels * MB),
            jobs=flags.queue,
            job_seconds=flags.seconds,
            keep_seconds=flags.keep,
        ),
    )
    with suppress(KeyboardInterrupt):
        if flags.engine == "ray":
            from cloakwork.serve.ray_engine import serve_on_ray

            serve_on_ray(settings, flags.ray, say=_say)
        else:
            serve(settings, say=_say)
    say("The service has ended. What is done and not fetched stays until the next start.")


def _say(text: str) -> None:
    """Print at once: who starts this from a script waits for the address."""
    print(text, flush=True)
