"""How long an audit in a hurry takes, said before it trains anything."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from cloakwork import registry, specs
from cloakwork.evaluation.design import ThreatModel
from cloakwork.evaluation.steps import Step, Workspace, cached
from cloakwork.workflows.defaults import QUICK_ATTACKER
from cloakwork.workflows.estimate import about

# CPU seconds of one attacker on tiny, with the scores of its pictures: 208 were measured for the
# three of a photo set (clean, noise, protected) and one seed
SECONDS = 208 / 3


def expectation(
    threat_models: Sequence[ThreatModel], attacks: Sequence[Step], workspace: Workspace
) -> Iterator[str]:
    """Yield a sentence on how long an audit's attackers will take.

    Args:
        threat_models: of the audit.
        attacks: every attacker of theirs, one a photo set, seed and arm.
        workspace: what its store holds is not trained again.

    Yields:
        Nothing where all is trained, or an attacker is none whose time was measured.
    """
    if not all(_measured(threat) for threat in threat_models):
        return
    n = sum(not cached(step, workspace) for step in attacks)
    if not n:
        return
    # up to whole minutes: rather too long than too short
    minutes = math.ceil(n * SECONDS / 60)
    which = f"{n} attacker{'s are' if n > 1 else ' is'} trained"
    if n < len(attacks):
        which += f", {len(attacks) - n} of {len(attacks)} were before"
    more = " Purifiers take more." if any(threat.purifiers for threat in threat_models) else ""
    yield f"This takes {about(60 * minutes)} on one core of a CPU: {which}.{more}"


def _measured(threat: ThreatModel) -> bool:
    """Return whether a threat model's attacker is the quick one, on a model of the package."""
    quick = specs.parse("attackers", QUICK_ATTACKER, [threat.victim])
    ours = threat.victim in registry.EMBEDDED and threat.victim not in registry.APART
    return ours and threat.attacker == quick
