"""The command line: the only folder that knows argv."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from cloakwork import registry
from cloakwork._version import __version__
from cloakwork.cli.attack import attack_command
from cloakwork.cli.audit import audit_command
from cloakwork.cli.bench import bench_command
from cloakwork.cli.check import check_command
from cloakwork.cli.inspect import inspect_command
from cloakwork.cli.learn_pattern import learn_pattern_command
from cloakwork.cli.list_methods import list_command
from cloakwork.cli.mine import mine_command
from cloakwork.cli.protect import demo_command, protect_command
from cloakwork.cli.purify import purify_command
from cloakwork.cli.score import score_command
from cloakwork.cli.serve import serve_command
from cloakwork.cli.terminal import refuse_dashes, say
from cloakwork.cli.train_purifier import train_purifier_command
from cloakwork.cli.try_photos import try_command
from cloakwork.cli.undo import undo_command
from cloakwork.cli.web import web_command
from cloakwork.errors import UserError

USAGE = """\
usage: cloakwork COMMAND ...

Protects photos from being learned or edited by text-to-image diffusion models without consent.

commands:
  protect   protect photos:  cloakwork protect photos/ -o safe/
  demo      protect the sample photos that come with cloakwork
  try       what is left of a protection, in seconds:  cloakwork try safe/
  audit     how well a protection holds:  cloakwork audit safe/ -o report/
  purify    try to remove a protection:  cloakwork purify safe/ -o pure/ --purifier jpeg+resize
  inspect   see it from inside:  cloakwork inspect safe/ -o inside/
  attack    what an attacker gets from photos:  cloakwork attack safe/ -o attacked/
  bench     protections against attackers, as a grid:  cloakwork bench quick
  score     measure pictures:  cloakwork score attacked/ --clean photos/
  undo      where the originals of protected photos are:  cloakwork undo safe/
  mine      whether a photo that was found is one of yours:  cloakwork mine found.jpg --in safe/
  list      the methods there are, and what can be set of one:  cloakwork list purifiers jpeg
  check     whether a method of your own keeps the contract:  cloakwork check my_lab.mine
  learn-pattern  a pattern of your own for `learned`:  cloakwork learn-pattern photos/ -o mine/
  train-purifier  a network that undoes a protection:  cloakwork train-purifier photos/ -o net/
  web       a page in the browser for protecting photos; nothing leaves this machine
  serve     the same for other programs, over HTTP

cloakwork COMMAND --help says more about one; cloakwork --version says which version this is."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for a mistake that the user can mend, 130
    when stopped, 141 when nobody reads the output any more, as in `cloakwork list | head -1`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill stops like Ctrl-C
        for stream in (sys.stdout, sys.stderr):  # letters that the terminal does not have
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
    try:
        try:
            return _answer(words)
        finally:
            # what is still buffered meets a closed pipe here, not at the interpreter's end
            print(end="", flush=True)
    except BrokenPipeError:
        return _unread()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # how rich ends at a closed pipe
            return _unread()
        raise


def _answer(words: list[str]) -> int:
    """Run the command that the words name; say what is wrong with them, or that it was stopped."""
    try:
        return _run(words)
    except UserError as error:
        say(error, error=True)
        return 2
    except KeyboardInterrupt as stop:
        (*_, where) = ["", *getattr(stop, "__notes__", [])]  # from the progress bars
        say(
            f"Stopped{where and f' at {where}'}. "
            "What is finished is whole; run the same command again to go on.",
            error=True,
        )
        return 130


def _unread() -> int:
    """Turn away from a closed pipe, and return the status of a program that one has ended."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return 141


def _run(words: list[str]) -> int:
    """Run the command that the words name and return its exit status."""
    commands = {
        "protect": protect_command,
        "demo": demo_command,
        "try": try_command,
        "audit": audit_command,
        "purify": purify_command,
        "inspect": inspect_command,
        "attack": attack_command,
        "score": score_command,
        "bench": bench_command,
        "undo": undo_command,
        "mine": mine_command,
        "list": list_command,
        "check": check_command,
        "learn-pattern": learn_pattern_command,
        "train-purifier": train_purifier_command,
        "web": web_command,
        "serve": serve_command,
    }
    match words:
        case []:
            print(USAGE, file=sys.stderr)
            return 2
        case ["-h" | "--help", *_]:
            print(USAGE)
        case ["--version", *_]:
            print(f"cloakwork {__version__}")
        case [command, *rest] if command in commands:
            refuse_dashes(rest)
            commands[command](rest)
        case [command, *_]:
            raise registry.unknown("command", command, list(commands))
    return 0
