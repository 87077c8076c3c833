"""`cloakwork web`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from cloakwork.cli.common import parse
from cloakwork.cli.terminal import say


@dataclass(frozen=True)
class WebFlags:
    """Where the page is."""

    host: str = "127.0.0.1"
    """address to listen at, of this machine alone: 127.0.0.1, ::1 or localhost"""
    port: Annotated[int | None, arg(help_behavior_hint="(default: 8765, or any that is free)")] = (
        None
    )
    """port to listen at"""
    no_browser: bool = False
    """open no browser"""


def web_command(words: list[str]) -> None:
    """Run `cloakwork web`."""
    flags = parse(
        WebFlags,
        "web",
        "Show a page for protecting photos in a browser of this machine. Nothing leaves it; what "
        "was uploaded is deleted when the page is closed, and at the end.",
        words,
    )
    from cloakwork.web.server import serve

    with suppress(KeyboardInterrupt):  # where Ctrl-C is ignored, as in a script's background, none
        serve(flags.host, flags.port, browser=not flags.no_browser, say=_say)
    say("The page is closed, and what was uploaded is deleted.")


def _say(text: str) -> None:
    """Print at once: who starts this from a script waits for the address."""
    print(text, flush=True)
