"""What attackers of an audit run the photos through first, and which of the usual ways cannot be
gone here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from cloakwork import specs
from cloakwork.errors import UserError
from cloakwork.evaluation.design import Subject, ThreatModel
from cloakwork.evaluation.steps import Workspace
from cloakwork.models import upscalers
from cloakwork.workflows.defaults import AUDIT_PURIFIERS


def read_chains(given: specs.Chain | None) -> list[specs.Chain]:
    """Return the chains that every attacker tries, one after the other; an empty one is none.

    Args:
        given: one chain in any way that `specs.purifiers` takes, a text of several parted by
            blanks, or None for the audit's own.

    >>> read_chains("none jpeg:quality=60 blur+resize")
    ['', 'jpeg:quality=60', 'blur+resize']
    >>> read_chains(["jpeg", "blur"])
    [['jpeg', 'blur']]
    """
    if given is None:
        given = AUDIT_PURIFIERS
    if not isinstance(given, str):
        return [given]
    return ["" if word == "none" else word for word in specs.chains(given)] or [""]


def left_out(
    threat_models: Sequence[ThreatModel], subjects: Sequence[Subject], workspace: Workspace
) -> tuple[list[ThreatModel], list[str]]:
    """Leave out the threat models whose purifiers cannot be run on these photos here.

    Returns:
        The others, and a sentence on each purifier that was left out.
    """
    faults = {m.name: _fault(m, t, subjects, workspace) for t in threat_models for m in t.purifiers}
    notes = [
        f"The purifier {name} was not tried: {fault}" for name, fault in faults.items() if fault
    ]
    possible = [t for t in threat_models if not any(faults[m.name] for m in t.purifiers)]
    return possible, notes


def _fault(
    purifier: specs.Method,
    threat: ThreatModel,
    subjects: Sequence[Subject],
    workspace: Workspace,
) -> str:
    """Return why a purifier cannot be run; "" where it can."""
    if purifier.name == "codesr":
        try:
            upscalers.load(purifier.config.upscaler)
        except UserError as error:
            return str(error)
    if purifier.model_kind == "pixels" and getattr(purifier.module, "WINDOWS", False):
        needed = workspace.denoiser(threat.denoiser).size
        short = min(_short_side(file) for s in subjects for file in s.clean.files)
        if short < needed:
            return (
                f"it works in squares of {needed} px, and the smallest photo is only {short} px "
                "high or wide."
            )
    return ""


def _short_side(file: Path) -> int:
    with Image.open(file) as image:
        return min(image.size)
