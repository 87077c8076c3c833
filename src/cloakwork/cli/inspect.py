"""`inspect`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cloakwork import specs
from cloakwork.cli.common import FROM_RECORDS, SPEC, parse_flags, read_prompts
from cloakwork.cli.progress import progress_bars

SEEN, NOISY = "a photo of a person", "a noisy photo of a person"


@dataclass(frozen=True)
class InspectFlags:
    """What is inspected, and by whose eyes."""

    protected: Annotated[Positional[Path], arg(metavar="PROTECTED")]
    """folder of protected photos"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for what is found"""
    clean: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint=FROM_RECORDS)] = None
    """folder of the originals, by the same names"""
    clip: Annotated[str, arg(metavar="MODEL")] = "tiny"
    """the CLIP that looks: tiny, a folder or a hub id"""
    seen: Annotated[str, arg(metavar="TEXT")] = SEEN
    """what the photos show"""
    taken_for: Annotated[str, arg(metavar="TEXT")] = NOISY
    """what they show if they are taken for noise"""
    autoencoder: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="MODEL", help_behavior_hint="(repeatable, default: tiny and tiny-b)"),
    ] = ()
    """whose latents are looked at: tiny, tiny-b, a folder (an autoencoder's, TAESD's, a pipeline's)
    or a hub id"""
    sample_every: int = 0
    """training steps between two looks at a thief's pictures (0: no thief is trained)"""
    attacker: Annotated[str, arg(metavar=SPEC)] = "dreambooth"
    """the thief, if one is trained"""
    metrics: Annotated[str, arg(metavar="NAME,...")] = "match,clip_i,clip_iqa"
    """what its pictures are scored by"""
    seed: int = 0
    """same seed, same machine, same numbers"""
    store: Annotated[
        str | None,
        arg(metavar="FOLDER|URL", help_behavior_hint="(default: .cloakwork in the output folder)"),
    ] = None
    """finished steps, to share with audits"""


def inspect_command(words: list[str]) -> None:
    """`cloakwork inspect`."""
    from cloakwork.evaluation.design import ThreatModel
    from cloakwork.workflows.inspect import Watched, inspect

    flags, how = parse_flags(
        "inspect",
        "See a protection from inside: CLIP, encoders, the denoiser, a training.",
        InspectFlags,
        words,
    )
    watched = None
    if flags.sample_every:
        threat = ThreatModel(
            specs.parse("attackers", flags.attacker, [how.victim]),
            how.victim,
            read_prompts(how),
            denoiser=how.denoiser,
            dtype=how.dtype,
            label=flags.attacker,
        )
        watched = Watched(
            threat, flags.sample_every, tuple(m for m in flags.metrics.split(",") if m)
        )
    with progress_bars() as progress:
        found = inspect(
            flags.protected,
            flags.out,
            clean=flags.clean,
            purifiers=how.purifier,
            clip=flags.clip,
            texts=(flags.seen, flags.taken_for),
            coders=flags.autoencoder or ("tiny", "tiny-b"),
            victim=how.victim,
            denoiser=how.denoiser,
            watched=watched,
            seed=flags.seed,
            device=how.device,
            dtype=how.dtype,
            store=flags.store,
            progress=progress,
        )
    for sentence in found.sentences:
        print(sentence)
    print(f"Numbers: {flags.out / 'inspection.json'}; figures beside it.")
