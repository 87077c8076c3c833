"""`cloakwork check`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from cloakwork.cli.common import parse
from cloakwork.cli.protect_flags import Files, How, Sample, flag_names


@dataclass(frozen=True)
class CheckFlags:
    """What is checked, and on what."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """a module of your own such as my_lab.mine, a recipe such as my_lab.my_grid, or a name from
    `cloakwork list`"""
    kind: Literal["protections", "attackers", "purifiers", "metrics", "recipes"] | None = None
    """what it is, where its name does not tell"""
    surrogate: Annotated[str, arg(metavar="MODEL")] = "tiny"
    """model that it is run with: tiny, tiny-b, a diffusers folder, a hub id (which is then fetched)
    or a single file as in FILE+FOLDER; for purifiers of pixels a denoiser"""
    data: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """folder of photo sets, for a recipe that asks for one"""
    device: str = "cpu"
    """auto, cpu, cuda, cuda:1, mps; a graphics card may round otherwise from run to run"""


def check_command(words: list[str]) -> None:
    """Run `cloakwork check`."""
    flags = parse(
        CheckFlags,
        "check",
        "Check that a method or a recipe keeps the contract (see CONTRIBUTING.md).",
        words,
    )

    # after the parser, so that --help does not load torch
    from cloakwork.workflows.check import check

    checked = check(
        flags.name,
        kind=flags.kind,
        surrogate=flags.surrogate,
        data=flags.data,
        taken=flag_names(Files, How, Sample),
        device=flags.device,
    )
    print(f"{flags.name} keeps the contract of the {checked.kind}. Checked:")
    for what in checked.checks:
        print(f"  {what}")
