"""`cloakwork attack`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from cloakwork import specs
from cloakwork.cli.progress import progress_bars

if TYPE_CHECKING:
    pass
from cloakwork.cli.common import SPEC, parse_flags, read_prompts


@dataclass(frozen=True)
class AttackFlags:
    """Which photos, which thief."""

    photos: Annotated[Positional[Path], arg(metavar="PHOTOS")]
    """folder of photos, one subject"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for what the thief gets"""
    attacker: Annotated[str, arg(metavar=SPEC)] = "dreambooth"
    """thief, with its preset and fields"""
    seed: int = 0
    """same seed, same machine, same bytes"""
    mask: Annotated[Path | None, arg(metavar="FILE")] = None
    """for inpaint: a picture that is white where the photo is painted anew (default: a centred
    square)"""
    keep_model: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """where the trained model or adapter is kept, for diffusers"""
    sample_every: int = 0
    """training steps between two sheets of pictures (0: none)"""


def attack_command(words: list[str]) -> None:
    """`cloakwork attack`."""
    from cloakwork.workflows.attack import attack

    flags, how = parse_flags("attack", "Do to photos what a thief would do.", AttackFlags, words)
    method = specs.parse("attackers", flags.attacker, [how.victim])
    with progress_bars() as progress:
        files = attack(
            flags.photos,
            flags.out,
            attacker=method.name,
            config=method.config,
            victim=how.victim,
            prompts=read_prompts(how),
            purifiers=how.purifier,
            denoiser=how.denoiser,
            seed=flags.seed,
            mask=flags.mask,
            keep_model=flags.keep_model,
            sample_every=flags.sample_every,
            device=how.device,
            dtype=how.dtype,
            progress=progress,
        )
    print(
        f"{len(files)} pictures in {flags.out}; all at a glance: {flags.out / '.cloakwork' / 'sheet.png'}"
    )
