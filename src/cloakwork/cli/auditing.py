"""`audit`, `attack` and `score`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, UseAppendAction, arg

from cloakwork import specs
from cloakwork.cli.bars import bars
from cloakwork.errors import UserError

if TYPE_CHECKING:
    from cloakwork.evaluation.design import Thief
    from cloakwork.evaluation.intervals import Estimate
    from cloakwork.workflows.audit_results import Audit

SPEC = "NAME[:PRESET][:FIELD=VALUE,...]"
PROMPT = "a photo of sks person"
FROM_RECORDS = "(default: those that the records beside the photos name)"
MEASURED = "(default: match, identity, face_missing, clip_i, clip_t)"


@dataclass(frozen=True)
class Circumstances:
    """Who attacks, and with what."""

    victim: Annotated[str, arg(metavar="MODEL")] = "tiny"
    """model the thief uses: tiny, tiny-b, a diffusers folder or a hub id (which is then fetched)"""
    prompt: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="TEXT", help_behavior_hint=f"(repeatable, default: {PROMPT})")
    ] = ()
    """what the thief asks for"""
    prompts: Annotated[Path | None, arg(metavar="FILE")] = None
    """text file with a prompt a line; blank lines are passed over"""
    purifier: Annotated[str, arg(metavar="SPEC+...")] = ""
    """what the thief runs the photos through first, in order"""
    denoiser: Annotated[str, arg(metavar="MODEL")] = "tiny"
    """what purifiers that diffuse pixels use: tiny, a diffusers folder (DDPMPipeline) or a hub id; others use the victim"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """what the models compute in"""


@dataclass(frozen=True)
class AuditFlags:
    """What is audited."""

    protected: Annotated[Positional[Path], arg(metavar="PROTECTED")]
    """folder of protected photos"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for the report"""
    clean: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint=FROM_RECORDS)] = None
    """folder of the originals, by the same names"""
    reference: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: the originals)")] = None
    """further clean photos of the subject that pictures are compared with"""
    attacker: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar=SPEC, help_behavior_hint="(repeatable, default: dreambooth)")
    ] = ()
    """thief, with its preset and fields; several may be joined by commas when they have no fields"""
    metrics: Annotated[str, arg(metavar="NAME,...", help_behavior_hint=MEASURED)] = ""
    """what the pictures are scored by"""
    seeds: int = 1
    """trainings of each thief, with seeds 0, 1, 2 ..."""
    clean_share: float = 0.0
    """share of the photos that the thief has unprotected, 0 to 1"""
    store: Annotated[str | None, arg(metavar="FOLDER|URL", help_behavior_hint="(default: .cloakwork in the report's folder)")] = (
        None
    )
    """finished steps, to share between audits"""


def audit_command(words: list[str]) -> None:
    """`cloakwork audit`."""
    from cloakwork.auditing import METRICS, audit

    flags, how = parse("audit", "Train thieves on clean, noisy and protected photos alike, and compare.", AuditFlags, words)
    if not 0 <= flags.clean_share <= 1:
        raise UserError(f"The clean share {flags.clean_share:g} is out of range; allowed are 0 to 1.")
    metrics = tuple(m for m in flags.metrics.split(",") if m) or METRICS
    with bars() as progress:
        found = audit(
            flags.protected, flags.out, clean=flags.clean, reference=flags.reference, thieves=_thieves(flags, how),
            metrics=metrics, seeds=flags.seeds, device=how.device, store=flags.store, progress=progress,
        )  # fmt: skip
    _report(found, flags.out)


def parse(command: str, what: str, flags: type, words: list[str]) -> tuple[Any, Circumstances]:
    """A command's own flags, and who attacks; `what` is the command's help."""
    parts = [("files", Annotated[flags, FlagCreatePairsOff]), ("how", Circumstances)]
    parsed = tyro.cli(make_dataclass("Flags", parts, frozen=True), prog=f"cloakwork {command}", description=what, args=words,
                      config=(OmitArgPrefixes,))  # fmt: skip
    return parsed.files, parsed.how


def _thieves(flags: AuditFlags, how: Circumstances) -> list[Thief]:
    from cloakwork.evaluation.design import Thief

    purifiers = specs.purifiers(how.purifier, how.victim, how.denoiser)
    thieves = []
    for spec in _words(flags.attacker or ("dreambooth",)):
        name, config = specs.parse("attackers", spec, [how.victim])
        label = f"{spec} after {how.purifier}" if purifiers else spec
        thieves.append(
            Thief(name, config, how.victim, read_prompts(how), flags.clean_share, purifiers, how.denoiser, how.dtype, label)
        )
    return thieves


def read_prompts(how: Circumstances) -> tuple[str, ...]:
    """Prompts of the flags and of the file, without blank lines and repetitions.

    Raises:
        UserError: the file cannot be read, or holds no prompt.
    """
    lines = list(how.prompt)
    if how.prompts:
        try:
            text = how.prompts.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"The prompts file {how.prompts} cannot be read ({error}); give a text file in UTF-8.") from None
        found = [line.strip() for line in text.splitlines() if line.strip()]
        if not found:
            raise UserError(f"The prompts file {how.prompts} holds no prompt; write one a line.")
        lines += found
    return tuple(dict.fromkeys(lines)) or (PROMPT,)


def _report(found: Audit, out: Path) -> None:
    """The table and what it means."""
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False, soft_wrap=True)
    for thief, rows in groupby(found.rows, key=lambda row: row.thief):
        table = Table(title=thief, title_justify="left")
        for name in ("metric", "clean", "noise", "protected", "protected - clean", "protected - noise"):
            table.add_column(name, justify="left" if name == "metric" else "right", no_wrap=name == "metric")
        for row in rows:
            arms = [_mean(row.arms[a]) for a in ("clean", "noise", "protected")]
            table.add_row(row.metric, *arms, _span(row.against_clean), _span(row.against_noise))
        console.print(table)
    stealth = ", ".join(f"{name} {_mean(value)}" for name, value in found.stealth.items())
    console.print(f"The protected photos against their originals: {stealth}.")
    for sentence in found.sentences:
        console.print(sentence)
    console.print(f"Report: {out / 'audit.json'}; pictures: a sheet for each photo set and thief beside it.")


def _mean(value: Estimate) -> str:
    return "unscored" if math.isnan(value.mean) else f"{value.mean:.3g}"


def _span(value: Estimate) -> str:
    return "unscored" if math.isnan(value.mean) else f"{value.mean:+.2f} [{value.low:+.2f}, {value.high:+.2f}]"


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
    """for inpaint: a picture that is white where the photo is painted anew (default: a centred square)"""
    keep_model: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """where the trained model or adapter is kept, for diffusers"""
    sample_every: int = 0
    """training steps between two sheets of pictures (0: none)"""


def attack_command(words: list[str]) -> None:
    """`cloakwork attack`."""
    from cloakwork.theft import attack

    flags, how = parse("attack", "Do to photos what a thief would do.", AttackFlags, words)
    name, config = specs.parse("attackers", flags.attacker, [how.victim])
    with bars() as progress:
        files = attack(
            flags.photos, flags.out, attacker=name, config=config, victim=how.victim, prompts=read_prompts(how),
            purifiers=how.purifier, denoiser=how.denoiser, seed=flags.seed,
            mask=flags.mask, keep_model=flags.keep_model,
            sample_every=flags.sample_every, device=how.device, dtype=how.dtype, progress=progress,
        )  # fmt: skip
    print(f"{len(files)} pictures in {flags.out}; all at a glance: {flags.out / '.cloakwork' / 'sheet.png'}")


@dataclass(frozen=True)
class ScoreFlags:
    """What is measured, and against what."""

    pictures: Annotated[Positional[Path], arg(metavar="PICTURES")]
    """folder of pictures or photos"""
    metric: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar=SPEC, help_behavior_hint="(repeatable, default: all that apply)")
    ] = ()
    """metric, with its fields"""
    clean: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """clean photos: the originals, by the same names, for metrics of change; any photos of the subject for the others"""
    prompt: str = ""
    """what the pictures were asked for, for metrics of text"""
    out: Annotated[Path | None, arg(aliases=("-o",), metavar="FILE")] = None
    """JSON file for every score"""


def score_command(words: list[str]) -> None:
    """`cloakwork score`."""
    from rich.console import Console
    from rich.table import Table

    from cloakwork.theft import score

    flags = tyro.cli(ScoreFlags, prog="cloakwork score", description="Measure pictures.", args=words,
                     config=(OmitArgPrefixes, FlagCreatePairsOff))  # fmt: skip
    chosen = [specs.parse("metrics", spec) for spec in _words(flags.metric)]
    found = score(flags.pictures, metrics=chosen, clean=flags.clean, prompt=flags.prompt or None, out=flags.out)
    table = Table()
    for name in ("metric", "mean", "unit", "scored", "why not"):
        table.add_column(name)
    for name, row in found.items():
        mean = "unscored" if row["mean"] is None else f"{row['mean']:.4g}"
        table.add_row(name, mean, row["unit"], f"{row['scored']} of {row['n']}", row["reason"] or "")
    Console(markup=False, highlight=False).print(table)


def _words(given: Sequence[str]) -> list[str]:
    """Methods that were named one by one or, without fields, joined by commas."""
    return [spec for text in given for spec in (text.split(",") if "=" not in text else [text])]
