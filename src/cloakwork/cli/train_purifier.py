"""`cloakwork train-purifier`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cloakwork import registry
from cloakwork.cli.common import parse
from cloakwork.cli.progress import progress_bars


@dataclass(frozen=True)
class TrainFlags:
    """Which photos, which protection."""

    photos: Annotated[
        Positional[tuple[str, ...]], arg(metavar="PHOTO ...", help_behavior_hint="(one or more)")
    ]
    """photos of your own, folders or globs; some hundred are good, five the least"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for the network; the photos that were protected for it go to FOLDER/protected"""
    protection: Annotated[str, arg(metavar="NAME[:PRESET][:FIELD=VALUE,...]")] = (
        registry.DEFAULT_PROTECTION
    )
    """the tool under attack"""
    surrogate: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="MODEL", help_behavior_hint="(repeatable, default: tiny)"),
    ] = ()
    """what it is computed against"""
    steps: int = 2000
    """of the training; each sees 16 crops"""
    seed: int = 0
    """same seed, same machine, same bytes"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""


def train_purifier_command(words: list[str]) -> None:
    """Run `cloakwork train-purifier`."""
    from cloakwork.workflows.train_purifier import train_purifier

    about = "Train a network to undo a protection, on photos of your own that it protects first."
    flags = parse(TrainFlags, "train-purifier", about, words)
    with progress_bars() as progress:
        made = train_purifier(
            flags.photos,
            flags.out,
            protection=flags.protection,
            surrogates=flags.surrogate or ("tiny",),
            steps=flags.steps,
            seed=flags.seed,
            device=flags.device,
            progress=progress,
        )
    print(
        f"Learned from {made.learned_from} photos under {made.protection}; "
        f"measured on {made.held_out} others:\n"
        f"LPIPS to the original {made.lpips_before:.3f} before, {made.lpips_after:.3f} purified; "
        f"{made.left:.0%} of the perturbation's energy is left.\n"
        f"Protected photos are told from clean ones with an AUC of {made.auc:.2f} "
        "(.50 is chance).\n"
        f"To use it: cloakwork purify PHOTOS -o OUT --purifier learned:weights={made.folder}"
    )
