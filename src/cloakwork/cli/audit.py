"""`cloakwork audit`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cloakwork import registry
from cloakwork.cli.common import (
    FROM_RECORDS,
    SPEC,
    ThreatFlags,
    parse_flags,
    read_prompts,
)
from cloakwork.cli.expected import show_expected
from cloakwork.cli.progress import progress_bars
from cloakwork.cli.terminal import plain_console
from cloakwork.errors import UserError
from cloakwork.workflows.defaults import AUDIT_METRICS, AUDIT_PURIFIERS, QUICK_ATTACKER

if TYPE_CHECKING:
    from cloakwork.evaluation.statistics import Estimate
    from cloakwork.workflows.audit_results import Audit

MEASURED = f"(default: {', '.join(AUDIT_METRICS)})"
TRIED = f"(default: '{AUDIT_PURIFIERS}', with --quick none)"


@dataclass(frozen=True)
class AuditFlags:
    """What is audited."""

    protected: Annotated[Positional[Path], arg(metavar="PROTECTED")]
    """folder of protected photos"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for the report"""
    clean: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint=FROM_RECORDS)] = None
    """folder of the originals, by the same names"""
    reference: Annotated[
        Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: the originals)")
    ] = None
    """further clean photos of the subject that pictures are compared with"""
    attacker: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar=SPEC, help_behavior_hint="(repeatable, default: dreambooth)"),
    ] = ()
    """attacker, with its preset and fields; several may be joined by commas when they have no
    fields"""
    quick: bool = False
    """train a third of the steps and draw half of the pictures: about four minutes a photo set and
    seed (208 CPU seconds were measured) where the whole takes some ten times as long; it shows less
    surely"""
    metrics: Annotated[str, arg(metavar="NAME,...", help_behavior_hint=MEASURED)] = ""
    """what the pictures are scored by"""
    dry_run: bool = False
    """say what would be computed, what is there already and what the rest may take"""
    low_memory: bool = False
    """compute in less memory and up to 1.3 times the time; changes no byte"""
    seeds: int = 1
    """trainings of each attacker, with seeds 0, 1, 2 ..."""
    clean_share: float = 0.0
    """share of the photos that the attacker has unprotected, 0 to 1"""
    store: Annotated[
        str | None,
        arg(
            metavar="FOLDER|URL", help_behavior_hint="(default: .cloakwork in the report's folder)"
        ),
    ] = None
    """finished steps, to share between audits"""


@dataclass(frozen=True)
class AuditThreatFlags(ThreatFlags):
    """Who attacks, and with what."""

    purifier: Annotated[str, arg(metavar="SPEC+...", help_behavior_hint=TRIED)] = ""
    """what attackers run the photos through first, in order; several such chains, parted by blanks,
    are tried one after the other, and the worst case is named"""


def audit_command(words: list[str]) -> None:
    """Run `cloakwork audit`."""
    flags, threat = parse_flags(
        "audit",
        "Train attackers on clean, noisy and protected photos alike, and compare.",
        AuditFlags,
        words,
        how=AuditThreatFlags,
    )

    if flags.dry_run:
        return _dry_run(flags, threat)
    # after the parser, so that --help does not load torch
    from cloakwork.workflows.audit import audit

    with progress_bars() as progress:
        results = audit(
            flags.protected,
            flags.out,
            clean=flags.clean,
            reference=flags.reference,
            attacker=_attacker(flags, threat.victim),
            victim=threat.victim,
            prompts=read_prompts(threat),
            purifiers=_purifiers(flags, threat),
            denoiser=threat.denoiser,
            clean_share=flags.clean_share,
            dtype=threat.dtype,
            metrics=flags.metrics or AUDIT_METRICS,
            seeds=flags.seeds,
            device=threat.device,
            low_memory=flags.low_memory,
            store=flags.store,
            progress=progress,
            say=partial(print, flush=True),
        )
    _report(results, flags.out)


def _dry_run(flags: AuditFlags, threat: ThreatFlags) -> None:
    """Print what an audit would compute."""
    from cloakwork.workflows.audit import attackers, expect

    threat_models = attackers(
        _attacker(flags, threat.victim),
        victim=threat.victim,
        prompts=read_prompts(threat),
        purifiers=_purifiers(flags, threat),
        denoiser=threat.denoiser,
        clean_share=flags.clean_share,
        dtype=threat.dtype,
    )
    expected = expect(
        flags.protected,
        flags.out,
        threat_models,
        clean=flags.clean,
        reference=flags.reference,
        metrics=flags.metrics or AUDIT_METRICS,
        seeds=flags.seeds,
        device=threat.device,
        store=flags.store,
        leave_out=_purifiers(flags, threat) is None,
    )
    show_expected("audit", expected)


def _attacker(flags: AuditFlags, victim: str) -> str | tuple[str, ...]:
    """Return the attackers as they were named, or the one for an audit in a hurry."""
    if flags.quick and flags.attacker:
        raise UserError(
            "--quick is an attacker of its own, and --attacker names another. Give one of them."
        )
    if flags.quick and victim not in registry.EMBEDDED:
        raise UserError(
            f"--quick trains too little to teach {victim} a face. Leave it out, or audit with the "
            "victim tiny."
        )
    return QUICK_ATTACKER if flags.quick else flags.attacker or "dreambooth"


def _purifiers(flags: AuditFlags, threat: ThreatFlags) -> str | None:
    """Return the purifiers as they were named; None for the audit's own."""
    return threat.purifier or ("none" if flags.quick else None)


def _report(found: Audit, out: Path) -> None:
    """Print the verdict, the table and what it means."""
    from rich.table import Table

    console = plain_console()
    for verdict in found.verdicts:
        console.print(verdict)
    for threat_model, rows in groupby(found.rows, key=lambda row: row.threat_model):
        table = Table(title=threat_model, title_justify="left")
        for name in (
            "metric",
            "clean",
            "noise",
            "protected",
            "protected - clean",
            "protected - noise",
        ):
            table.add_column(
                name, justify="left" if name == "metric" else "right", no_wrap=name == "metric"
            )
        for row in rows:
            arms = [_mean(row.arms[a]) for a in ("clean", "noise", "protected")]
            table.add_row(row.metric, *arms, _span(row.against_clean), _span(row.against_noise))
        console.print(table)
    stealth = ", ".join(f"{name} {_mean(value)}" for name, value in found.stealth.items())
    console.print(f"The protected photos against their originals: {stealth}.")
    for sentence in found.sentences:
        console.print(sentence)
    console.print(
        f"Report: {out / 'audit.json'}; "
        "pictures: a sheet for each photo set and threat model beside it."
    )


def _mean(value: Estimate) -> str:
    """Return a mean as text."""
    return "unscored" if math.isnan(value.mean) else f"{value.mean:.3g}"


def _span(value: Estimate) -> str:
    """Return a mean and its interval as text."""
    return (
        "unscored"
        if math.isnan(value.mean)
        else f"{value.mean:+.2f} [{value.low:+.2f}, {value.high:+.2f}]"
    )
