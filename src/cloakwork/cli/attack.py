"""`cloakwork attack`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from cloakwork.cli.common import SPEC, parse_flags, read_prompts
from cloakwork.cli.progress import progress_bars
from cloakwork.cli.terminal import say


@dataclass(frozen=True)
class AttackFlags:
    """Which photos, which attacker."""

    photos: Annotated[Positional[Path], arg(metavar="PHOTOS")]
    """folder of photos, one subject"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for the attacker's pictures"""
    attacker: Annotated[str, arg(metavar=SPEC)] = "dreambooth"
    """attacker, with its preset and fields"""
    seed: int = 0
    """same seed, same machine, same bytes"""
    mask: Annotated[Path | None, arg(metavar="FILE")] = None
    """for inpaint: a picture that is white where the photo is painted anew (default: a centred
    square)"""
    keep_model: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """where the trained model or adapter is kept, for diffusers"""
    sample_every: int = 0
    """training steps between two sheets of pictures (0: none)"""
    no_clean: bool = False
    """leave out what the same attacker gets from the originals, which takes as long again; it is
    done where the records beside the photos name them"""
    low_memory: bool = False
    """compute in less memory and up to 1.3 times the time; changes no byte"""


def attack_command(words: list[str]) -> None:
    """Run `cloakwork attack`."""
    flags, threat = parse_flags(
        "attack", "Do to photos what an attacker would do.", AttackFlags, words
    )

    # after the parser, so that --help does not load torch
    from cloakwork.workflows.attack import attack

    with progress_bars() as progress:
        files = attack(
            flags.photos,
            flags.out,
            attacker=flags.attacker,
            victim=threat.victim,
            prompts=read_prompts(threat),
            purifiers=threat.purifier,
            denoiser=threat.denoiser,
            seed=flags.seed,
            mask=flags.mask,
            keep_model=flags.keep_model,
            sample_every=flags.sample_every,
            beside_clean=not flags.no_clean,
            device=threat.device,
            dtype=threat.dtype,
            low_memory=flags.low_memory,
            progress=progress,
        )
    sheet = flags.out / ".cloakwork" / "sheet.png"
    for note in files.summary.notes:
        say(note)
    say(f"{len(files)} pictures in {flags.out}; all at a glance: {sheet}")
