"""`cloakwork purify`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from cloakwork.cli.common import FROM_RECORDS, PARTS, QUALITY, ending, parse
from cloakwork.cli.progress import progress_bars
from cloakwork.cli.terminal import plain_console
from cloakwork.models.names import with_parts

if TYPE_CHECKING:
    from cloakwork.workflows.purify_set import Purified

SPEC = "NAME[:PRESET][:FIELD=VALUE,...][+...]"


@dataclass(frozen=True)
class PurifyFlags:
    """Which photos, which purifiers."""

    photos: Annotated[Positional[Path], arg(metavar="PHOTOS")]
    """folder of photos; its subfolders are mirrored"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for the purified photos; sheets and records go to FOLDER/.cloakwork"""
    purifier: Annotated[str, arg(metavar=SPEC)] = "jpeg"
    """purifiers in order, joined by +, such as jpeg:quality=75+resize:scale=0.5"""
    clean: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint=FROM_RECORDS)] = None
    """folder of the originals, by the same names, to say how near to them the photos come"""
    model: Annotated[str, arg(metavar="MODEL")] = "tiny"
    """what purifiers that work in latents use: tiny, tiny-b, a diffusers folder, a hub id (which is
    then fetched) or a safetensors file"""
    parts: Annotated[Path | None, arg(metavar="FOLDER", help=PARTS)] = None
    denoiser: Annotated[str, arg(metavar="MODEL")] = "tiny"
    """what purifiers that diffuse pixels use: tiny, a diffusers folder (DDPMPipeline) or a hub
    id"""
    seed: int = 0
    """same seed, same machine, same bytes"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """what the model computes in"""
    format: Literal["same", "png", "jpg", "webp", "tiff", "bmp"] = "png"
    """file format of the output; same: each photo's own, and png where that cannot be written"""
    quality: Annotated[int | None, arg(help_behavior_hint=QUALITY)] = None
    """quality of lossy formats, 1 to 100; WebP is lossy with one"""
    force: bool = False
    """overwrite photos in the output folder; originals are never overwritten"""
    skip_bad: bool = False
    """go on without the photos that cannot be read"""


def purify_command(words: list[str]) -> None:
    """Run `cloakwork purify`."""
    from cloakwork.workflows.purify import purify

    flags = parse(PurifyFlags, "purify", "Try to remove a protection from photos.", words)
    (model,) = with_parts([flags.model], flags.parts)
    with progress_bars() as progress:
        rows = purify(
            flags.photos,
            flags.out,
            purifiers=flags.purifier,
            clean=flags.clean,
            model=model,
            denoiser=flags.denoiser,
            seed=flags.seed,
            device=flags.device,
            dtype=flags.dtype,
            suffix=ending(flags.format),
            quality=flags.quality,
            force=flags.force,
            skip_bad=flags.skip_bad,
            progress=progress,
        )
    _report(rows, flags.out)


def _report(rows: Sequence[Purified], out: Path) -> None:
    """Print how near photos have come to their originals, and a table of them."""
    from rich.table import Table

    from cloakwork.files import FOLDER
    from cloakwork.workflows.purify import verdict

    table = Table()
    table.add_column("photo", overflow="fold")
    for name in ("size", "LPIPS to the original before", "after", "clean photo", "seconds"):
        table.add_column(name, justify="right")
    for row in rows:
        distances = (
            "" if value is None else f"{value:.3f}"
            for value in (row.lpips_before, row.lpips_after, row.lpips_clean)
        )
        seconds = f"{row.seconds:.1f}" if row.seconds else "done before"
        table.add_row(row.name, f"{row.width} x {row.height}", *distances, seconds)
    console = plain_console()
    for sentence in verdict(rows):
        console.print(sentence)
    console.print(table)
    for note in dict.fromkeys(note for row in rows for note in row.notes):
        console.print(note)
    if any(row.lpips_after is None for row in rows):
        console.print(
            "LPIPS is blank where no original is known, or it has changed since. "
            "Name the originals' folder with --clean."
        )
    console.print(
        f"What was changed: sheet.png and purified.json in {out / FOLDER}, for each photo set."
    )
