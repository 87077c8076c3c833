"""The tables of the recipe `tiny` on two architectures: a UNet, and a transformer with another
latent space.

What is made on one of them, or on both, is stolen from on each.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloakwork.benchmark.grids import Table, threat_model
from cloakwork.benchmark.recipes._red_team import LEAN, OURS
from cloakwork.evaluation.design import Subject

UNET, TRANSFORMER = "tiny", "tiny-dit"
FIRST = ("pid", "simac", OURS)  # and noise, which stands in every table
THEN = ("aspl", "metacloak", "sds", "dct_shield")


def architectures(subjects: Sequence[Subject]) -> tuple[Table, ...]:
    """Return a table for each protection: made on one, on the other, on both."""
    # in float32, for processors without bfloat16
    threats = tuple(
        threat_model(f"lean on {victim}", LEAN, victim=victim, dtype="float32")
        for victim in (UNET, TRANSFORMER)
    )
    return tuple(
        Table(
            f"{name} on two architectures",
            tuple(f"{name}@{made}" for made in (UNET, TRANSFORMER, f"{UNET}+{TRANSFORMER}")),
            threats,
            tuple(subjects),
            rival=f"{name}@{UNET}",
        )
        for name in (*FIRST, *THEN)
    )
