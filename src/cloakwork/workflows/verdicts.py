"""Results in a sentence or two, for people who will not read the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cloakwork.evaluation.design import ARMS, MIN_CLEAN_MATCH_RATE
from cloakwork.evaluation.statistics import Estimate


def match_counts(arms: Mapping[str, Estimate]) -> str | None:
    """Return in how many of an attacker's pictures the person is, arm by arm.

    Args:
        arms: arm -> match rate.

    Returns:
        None where no face could be looked for.

    >>> rates = {"clean": 0.875, "noise": 0.75, "protected": 0.125}
    >>> match_counts({arm: Estimate(rate, 0, 1, 1, 1, 8) for arm, rate in rates.items()})
    'Of 8 pictures that the attacker drew from protected photos, 1 shows the person; from clean \
photos 7 of 8; from noise of the same size 6 of 8.'
    """
    if any(math.isnan(arms[arm].mean) for arm in ARMS):
        return None
    clean, noise, protected = (_count(arms[arm]) for arm in ARMS)
    hits, n = protected
    return (
        f"Of {n} picture{'s' * (n != 1)} that the attacker drew from protected photos, "
        f"{hits or 'none'} {'shows' if hits < 2 else 'show'} the person; "
        f"from clean photos {clean[0]} of {clean[1]}; "
        f"from noise of the same size {noise[0]} of {noise[1]}."
    )


def _count(rate: Estimate) -> tuple[int, int]:
    """Return how many pictures match, and of how many."""
    return round(rate.mean * rate.pictures), rate.pictures


def what_next(
    arms: Mapping[str, Estimate], against_clean: Estimate, against_noise: Estimate
) -> str | None:
    """Return what to do where an audit does not show that a protection works; None where it does.

    Args:
        arms: arm -> match rate.
        against_clean, against_noise: what the protection changed.
    """
    if math.isnan(arms["clean"].mean):
        return None
    if arms["clean"].mean < MIN_CLEAN_MATCH_RATE:
        return (
            "What to do next: audit with more photos of the person, with more training "
            "(such as --attacker dreambooth:steps=600), or without --quick."
        )
    if against_clean.high < 0 and against_noise.high < 0:
        return None
    if against_clean.mean < 0 and against_noise.mean < 0:
        return (
            "What to do next: fewer pictures show the person, but too few were drawn to tell it "
            "from chance. Audit with more of them: --seeds 3, more photo sets, or without --quick."
        )
    return (
        "What to do next: protect the photos again with a larger --budget or another --protection "
        "(`cloakwork list protections`), and audit again."
    )


def nearer_or_further(distances: Sequence[tuple[float, float, float | None]]) -> list[str]:
    """Return whether purifiers brought photos nearer to their originals, and what is their own.

    Args:
        distances: LPIPS of each photo whose original is known: between photo and original before
            and after, and between the original after the same purifiers and the original, if that
            was measured.

    >>> for sentence in nearer_or_further([(0.2, 0.15, 0.05), (0.1, 0.11, 0.06)]):
    ...     print(sentence)
    Nearer to the originals: LPIPS 0.150 before, 0.130 after, on average (nearer in 1 of 2 photos).
    The same done to the clean photos takes them 0.055 from themselves: so much is the purifier's \
own.
    This says how the photos look, not what is learned from them; `cloakwork audit --purifier` does.
    """
    if not distances:
        return []
    n = len(distances)
    before, after = (sum(d[i] or 0.0 for d in distances) / n for i in (0, 1))
    nearer = sum(d[1] < d[0] for d in distances)
    way = "Nearer to the originals" if after < before else "No nearer to the originals"
    told = [
        f"{way}: LPIPS {before:.3f} before, {after:.3f} after, on average "
        f"(nearer in {nearer} of {n} photo{'s' * (n != 1)})."
    ]
    clean = [d[2] for d in distances if d[2] is not None]
    if clean:
        told.append(
            f"The same done to the clean photos takes them {sum(clean) / len(clean):.3f} from "
            "themselves: so much is the purifier's own."
        )
    told.append(
        "This says how the photos look, not what is learned from them; "
        "`cloakwork audit --purifier` does."
    )
    return told
