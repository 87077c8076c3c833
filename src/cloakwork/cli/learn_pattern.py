"""`cloakwork learn-pattern`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cloakwork.cli.common import parse
from cloakwork.cli.progress import progress_bars


@dataclass(frozen=True)
class LearnFlags:
    """Which photos, how long."""

    photos: Annotated[
        Positional[tuple[str, ...]], arg(metavar="PHOTO ...", help_behavior_hint="(one or more)")
    ]
    """photos of any kind, folders or globs; five the least"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for the patterns; whoever has it can take them off again"""
    patterns: int = 1
    """how many; one is drawn for each photo"""
    surrogate: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="MODEL", help_behavior_hint="(repeatable, default: four small encoders)"),
    ] = ()
    """whose encoders it is learned through"""
    steps: int = 400
    """for each pattern"""
    seed: int | None = None
    """whoever knows it can learn the same patterns; without it one is drawn, and not kept"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""


def learn_pattern_command(words: list[str]) -> None:
    """Run `cloakwork learn-pattern`."""
    from cloakwork.workflows.learn_pattern import ENCODERS, learn_pattern

    about = "Learn a pattern of your own for the protection `learned`, some minutes a pattern."
    flags = parse(LearnFlags, "learn-pattern", about, words)
    with progress_bars() as progress:
        made = learn_pattern(
            flags.photos,
            flags.out,
            patterns=flags.patterns,
            encoders=flags.surrogate or ENCODERS,
            steps=flags.steps,
            seed=flags.seed,
            device=flags.device,
            progress=progress,
        )
    far = ", ".join(f"{name} {times:g}" for name, times in made.moves.items())
    several, others = made.patterns > 1, "photo" + "s" * (made.held_out > 1)
    print(
        f"{made.patterns} pattern{'s' * several}, learned from {made.learned_from} photos. "
        f"Latents of {made.held_out} other {others} move so many times as far as by noise: {far}.\n"
        f"Whoever has {made.folder} can take the pattern off photos again. Keep it to yourself.\n"
        "A photo of 256 pixels or more gives much of it away all the same, since it repeats. "
        "`cloakwork purify` with --purifier subtract:blind=True shows how much is left.\n"
        f"To use it: cloakwork protect PHOTOS -o OUT --protection learned:weights={made.folder}"
    )
