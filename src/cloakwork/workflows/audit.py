"""Audits of folders: what the command and the Python API call. JSON and picture sheets go to the
report folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from cloakwork import specs
from cloakwork.benchmark.execution import serial
from cloakwork.benchmark.execution.serial import Expected
from cloakwork.environment import surroundings
from cloakwork.errors import UserError, check_arguments
from cloakwork.evaluation.design import Subject, ThreatModel
from cloakwork.evaluation.photo_pairs import find_subjects
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Workspace
from cloakwork.evaluation.typed_json import OLDER_NAMES, renamed
from cloakwork.files import expand_home, untaken, write_json
from cloakwork.models import pipelines
from cloakwork.photos.folders import refuse_report_among_photos
from cloakwork.photos.left_out import left_out_of
from cloakwork.state import Progress
from cloakwork.workflows.audit_compare import compare_all, needed
from cloakwork.workflows.audit_purifiers import left_out, read_chains
from cloakwork.workflows.audit_results import Audit
from cloakwork.workflows.audit_sheet import sheet
from cloakwork.workflows.defaults import AUDIT_METRICS, PROMPT
from cloakwork.workflows.shown import paper_note

LONGEST = 200  # bytes of a sheet's name; file systems allow 255


def audit(
    protected: Path | str,
    out: Path | str,
    *,
    clean: Path | str | None = None,
    reference: Path | str | None = None,
    threat_models: Sequence[ThreatModel] = (),
    attacker: specs.Given | Sequence[specs.Given] = "dreambooth",
    victim: str = "tiny",
    prompts: Sequence[str] | str = PROMPT,
    purifiers: specs.Chain | None = None,
    denoiser: str = "tiny",
    clean_share: float = 0.0,
    dtype: str = "float32",
    metrics: specs.Given | Sequence[specs.Given] = AUDIT_METRICS,
    seeds: int = 1,
    device: str = "auto",
    low_memory: bool = False,
    store: Path | str | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    **settings: Any,
) -> Audit:
    """Train attackers on clean, noisy and protected photos alike, and compare what they get.

    Args:
        protected: a folder of protected photos.
        out: folder for the report: audit.json and a sheet for each photo set and threat model.
        clean: folder of the originals; None takes those that the records beside the protected
            photos name.
        reference: further clean photos of the subject, to compare pictures with; None takes the
            originals.
        threat_models: attackers, what they know and have; none takes what follows.
        attacker: one or several, each a name, a text as on the command line
            ("dreambooth:transformed", "lora:steps=30") or a `specs.Method`.
        victim, prompts, denoiser, dtype: as `attack` takes them; of every attacker.
        purifiers: one chain, as `attack` takes it; or a text of several, parted by blanks, each of
            which every attacker tries ("none jpeg blur+resize"). None tries AUDIT_PURIFIERS, less
            what cannot be done to these photos on this machine.
        clean_share: share of the photos that it has unprotected, 0 to 1.
        metrics: what pictures are scored by, as `score` takes them.
        seeds: how many of 0, 1, 2 ...; each trains every attacker anew.
        device: where the models run.
        low_memory: compute in less memory, in up to 1.3 times the time; the results are the same.
        store: folder or fsspec URL of finished steps, to share between audits; None keeps them in
            `out`.
        progress: called with a label, steps done and their total.
        say: called before the first training with a sentence on how long it takes, where that was
            measured: for the attacker of `--quick`.
        settings: fields of the one attacker's Config, such as steps=40.

    Raises:
        UserError: photos that do not pair up, an output folder in theirs, unknown methods.
    """
    arguments = check_arguments(audit, locals())
    out = expand_home(out)
    if threat_models and settings:
        raise UserError(
            f"Threat models were given, and {', '.join(settings)} as well. "
            "Set that in the threat models' attackers."
        )
    with_config, usual = threat_models, purifiers is None and not threat_models
    if not threat_models:
        threat_models = attackers(
            attacker,
            settings,
            arguments,
            victim=victim,
            prompts=prompts,
            purifiers=purifiers,
            denoiser=denoiser,
            clean_share=clean_share,
            dtype=dtype,
        )
        pairs = zip(specs.one_by_one(attacker), threat_models, strict=False)  # of the first chain
        with_config = [threat for given, threat in pairs if isinstance(given, specs.Method)]
    refuse_report_among_photos(out, protected, clean, reference)
    subjects = find_subjects(protected, clean, reference)
    workspace = Workspace(store or out / ".cloakwork", device, progress, low_memory=low_memory)
    untried: list[str] = []
    if usual:
        threat_models, untried = left_out(threat_models, subjects, workspace)
    named = _named(metrics)
    results = compare_all(subjects, threat_models, named, seeds, workspace, say)
    notes = [n for t in with_config for n in paper_note(t.attacker, [t.victim])]
    notes += [*untried, *left_out_of(protected, clean, reference)]
    results = replace(results, sentences=[*results.sentences, *dict.fromkeys(notes)])
    write_json(out / "audit.json", report(results, subjects, threat_models, workspace))
    _write_sheets(subjects, threat_models, named, workspace, out)
    workspace.results.tidy()
    return results


def expect(
    protected: Path | str,
    out: Path | str,
    threat_models: Sequence[ThreatModel],
    *,
    clean: Path | str | None = None,
    reference: Path | str | None = None,
    metrics: specs.Given | Sequence[specs.Given] = AUDIT_METRICS,
    seeds: int = 1,
    device: str = "auto",
    store: Path | str | None = None,
    leave_out: bool = False,
) -> list[Expected]:
    """Return an audit's steps, how many are cached and what the rest may take; compute nothing.

    Args:
        threat_models: attackers, what they know and have.
        protected, out, clean, reference, metrics, seeds, device, store: as in `audit`.
        leave_out: leave out the threat models whose purifiers cannot be run on these photos here,
            as `audit` does with its own.

    Raises:
        UserError: as `audit` does, before it trains.
    """
    out = expand_home(out)
    refuse_report_among_photos(out, protected, clean, reference)
    subjects = find_subjects(protected, clean, reference)
    workspace = Workspace(store or out / ".cloakwork", device)
    if leave_out:
        threat_models, _ = left_out(threat_models, subjects, workspace)
    attacks, rest = needed(subjects, threat_models, _named(metrics), seeds)
    return serial.expect([*attacks, *rest], workspace)


def _named(metrics: specs.Given | Sequence[specs.Given]) -> list[str]:
    """Return metrics as they are written on the command line."""
    return [m if isinstance(m, str) else specs.word(m) for m in specs.one_by_one(metrics)]


def attackers(
    given: specs.Given | Sequence[specs.Given],
    settings: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    *,
    victim: str = "tiny",
    prompts: Sequence[str] | str = PROMPT,
    purifiers: specs.Chain | None = None,
    denoiser: str = "tiny",
    clean_share: float = 0.0,
    dtype: str = "float32",
) -> tuple[ThreatModel, ...]:
    """Return a threat model for each chain of purifiers and each attacker; see `audit`.

    Raises:
        UserError: unknown methods, a share out of range, no prompt, settings of several attackers.
    """
    if not 0 <= clean_share <= 1:
        raise UserError(f"The clean share {clean_share:g} is out of range; allowed are 0 to 1.")
    asked = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    if not asked:
        raise UserError(f"No prompt was given. Name what attackers ask for, such as {PROMPT}.")
    named = specs.methods("attackers", given, [victim], settings=settings, arguments=arguments)
    return tuple(
        ThreatModel(method, victim, asked, clean_share, chain, denoiser, dtype, label)
        for written in read_chains(purifiers)
        for chain in [specs.purifiers(written, victim, denoiser)]
        for method, label in zip(
            named, _labels(specs.one_by_one(given), settings or {}, written, chain), strict=True
        )
    )


def _labels(
    given: Sequence[specs.Given],
    settings: Mapping[str, Any],
    purifiers: specs.Chain,
    chain: Sequence[specs.Method],
) -> list[str]:
    """Return what tables call attackers: as they were written, each by a name of its own."""
    written = purifiers if isinstance(purifiers, str) else "+".join(map(specs.word, chain))
    extra = ",".join(f"{name}={value}" for name, value in settings.items())
    labels = []
    for one in given:
        text = one if isinstance(one, str) else one.name
        label = text + (f"{',' if '=' in text else ':'}{extra}" if extra else "")
        label += f" after {written}" if chain else ""
        count = sum(other.partition(" #")[0] == label for other in labels)
        labels.append(f"{label} #{count + 1}" if count else label)
    return labels


def _write_sheets(
    subjects: Sequence[Subject],
    threat_models: Sequence[ThreatModel],
    metrics: Sequence[str],
    workspace: Workspace,
    out: Path,
) -> None:
    """Write a sheet of pictures for each threat model and photo set."""
    taken: set[str] = set()
    for threat, subject in product(threat_models, subjects):
        name = _sheet_name(f"{subject.name}-{threat.name}", taken)
        sheet(subject, threat, metrics, workspace, out / name)


def _sheet_name(text: str, taken: set[str]) -> str:
    """Return a sheet's file name, which no file system refuses, and add it to those taken.

    >>> taken = set()
    >>> _sheet_name("anna-dreambooth: lr=1", taken), _sheet_name("anna-dreambooth:lr=1", taken)
    ('anna-dreambooth-lr=1.png', 'anna-dreambooth-lr=1-2.png')
    """
    plain = re.sub(r'[\s:/\\"*?<>|]+', "-", text).encode()[:LONGEST].decode(errors="ignore")
    return f"{untaken(plain, taken, '-')}.png"


def report(
    results: Audit,
    subjects: Sequence[Subject],
    threat_models: Sequence[ThreatModel],
    workspace: Workspace,
) -> dict[str, Any]:
    """Return the audit as plain data: its results, and all that is needed to do it again.

    The JSON's fields `thief` and `thieves` are an attacker under its threat model.
    """
    plain = asdict(results)
    return plain | {
        "rows": [renamed(row, OLDER_NAMES) for row in plain["rows"]],
        "thieves": [t.record() | {"weights": pipelines.weights(t.victim)} for t in threat_models],
        "photos": {
            s.name: {
                "budget": s.budget,
                "clean": list(s.clean.digests),
                "protected": list(s.protected.digests)
                if isinstance(s.protected, Source)
                else s.protected.name,
                "references": list(s.references.digests),
            }
            for s in subjects
        },
        "surroundings": surroundings(workspace.torch_device),
    }
