"""`cloakwork inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cloakwork import specs
from cloakwork.cli.common import FROM_RECORDS, SPEC, ThreatFlags, parse_flags, read_prompts
from cloakwork.cli.progress import progress_bars
from cloakwork.cli.terminal import plain_console, say
from cloakwork.workflows.defaults import AUTOENCODERS, INSPECT_METRICS, TEXTS

if TYPE_CHECKING:
    from cloakwork.evaluation.statistics import Estimate
    from cloakwork.workflows.inspect import Watched

DISPLACEMENT = "Displacement: how far latents are moved, in shares of their spread"
CODERS = f"(repeatable, default: {' and '.join(AUTOENCODERS)})"


@dataclass(frozen=True)
class InspectFlags:
    """What is inspected, and by whose eyes."""

    protected: Annotated[Positional[Path], arg(metavar="PROTECTED")]
    """folder of protected photos"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for numbers and figures"""
    clean: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint=FROM_RECORDS)] = None
    """folder of the originals, by the same names"""
    clip: Annotated[str, arg(metavar="MODEL")] = "tiny"
    """the CLIP that looks: tiny, a folder or a hub id"""
    seen: Annotated[str, arg(metavar="TEXT")] = TEXTS[0]
    """what the photos show"""
    taken_for: Annotated[str, arg(metavar="TEXT")] = TEXTS[1]
    """what they show if they are taken for noise"""
    autoencoder: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="MODEL", help_behavior_hint=CODERS),
    ] = ()
    """whose latents are looked at: tiny, tiny-b, a family (sd, sdxl, sd3, flux, flux2, qwen, sana;
    NAME:tiny or NAME:full), all that are at hand, a folder (an autoencoder's, TAESD's, a
    pipeline's) or a hub id"""
    fetch: bool = False
    """fetch encoders of families from the hub that are not on this machine"""
    sample_every: int = 0
    """training steps between two looks at an attacker's pictures (0: none is trained)"""
    attacker: Annotated[str, arg(metavar=SPEC)] = "dreambooth"
    """the attacker, if one is trained"""
    metrics: Annotated[str, arg(metavar="NAME,...")] = ",".join(INSPECT_METRICS)
    """what its pictures are scored by"""
    seed: int = 0
    """same seed, same machine, same numbers"""
    store: Annotated[
        str | None,
        arg(metavar="FOLDER|URL", help_behavior_hint="(default: .cloakwork in the output folder)"),
    ] = None
    """finished steps, to share with audits"""


def inspect_command(words: list[str]) -> None:
    """Run `cloakwork inspect`."""
    flags, threat = parse_flags(
        "inspect",
        "See a protection from inside: CLIP, encoders, the denoiser, a training.",
        InspectFlags,
        words,
    )

    # after the parser, so that --help does not load torch
    from cloakwork.workflows.inspect import inspect

    with progress_bars() as progress:
        inspection = inspect(
            flags.protected,
            flags.out,
            clean=flags.clean,
            purifiers=threat.purifier,
            clip=flags.clip,
            texts=(flags.seen, flags.taken_for),
            coders=flags.autoencoder or AUTOENCODERS,
            fetch=flags.fetch,
            victim=threat.victim,
            denoiser=threat.denoiser,
            watched=_watched(flags, threat) if flags.sample_every else None,
            seed=flags.seed,
            device=threat.device,
            dtype=threat.dtype,
            store=flags.store,
            progress=progress,
        )
    _print_displacement(inspection.displacement)
    for sentence in inspection.sentences:
        say(sentence)
    say(f"Numbers: {flags.out / 'inspection.json'}; figures beside it.")


def _watched(flags: InspectFlags, threat: ThreatFlags) -> Watched:
    """Return the attacker that is looked at while it trains."""
    from cloakwork.evaluation.design import ThreatModel
    from cloakwork.workflows.inspect import Watched

    threat_model = ThreatModel(
        specs.parse("attackers", flags.attacker, [threat.victim]),
        threat.victim,
        read_prompts(threat),
        denoiser=threat.denoiser,
        dtype=threat.dtype,
        label=flags.attacker,
    )
    metrics = tuple(m for m in flags.metrics.split(",") if m)
    return Watched(threat_model, flags.sample_every, metrics)


def _print_displacement(found: Mapping[str, Mapping[int, Mapping[str, Estimate]]]) -> None:
    """Print how far latents were moved, an encoder a row and a size a column."""
    from rich.table import Table

    if not found:
        return
    sizes = sorted({size for by_size in found.values() for size in by_size})
    table = Table(title=DISPLACEMENT, title_justify="left")
    table.add_column("encoder", overflow="fold")
    table.add_column("photos")
    for size in sizes:
        table.add_column(f"{size} px", justify="right")
    for encoder, by_size in found.items():
        for arm in next(iter(by_size.values())):
            means = [f"{by_size[size][arm].mean:.3f}" if size in by_size else "" for size in sizes]
            table.add_row(encoder, arm, *means)
    plain_console(soft_wrap=False).print(table)
