"""Bounds that hold for every trainer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from cloakwork.errors import UserError, check_ranges, faults_of
from cloakwork.finetuning.prompts import SUBJECT
from cloakwork.models import schedulers
from cloakwork.models.device import refuse_float16
from cloakwork.models.ldm import LDM
from cloakwork.state import RunState
from cloakwork.types import Photos

# bounds of what trainers' Configs may hold; a rate of 0 is a control
RANGES = {
    "lr": (0, math.inf),
    "final_lr": (0, 1),
    "steps": (1, math.inf),
    "batch": (1, math.inf),
    "prior_weight": (0, math.inf),
    "class_images": (0, math.inf),
    "rank": (1, math.inf),
    "vectors": (1, math.inf),
    "sampling.n": (1, math.inf),
    "sampling.guidance": (0, 1000),
}


def check_trainer(
    photos: Photos, victim: LDM, cfg: Any, prompts: Sequence[str], state: RunState
) -> None:
    """Check all that an attacker who trains was given, before anything costly is done.

    Raises:
        UserError: with every fault.
    """
    faults = [*faults_of(refuse_float16, victim.dtype)]
    if not photos:
        faults.append("There are no photos to learn from; give one at least.")
    if not prompts:
        faults.append(
            f'There are no prompts; give one at least, such as "a photo of {SUBJECT} person".'
        )
    bounded = {
        name: span
        for name, span in RANGES.items()
        if name.partition(".")[0] in {f.name for f in fields(cfg)}
    }
    faults += faults_of(check_ranges, cfg, **bounded)
    faults += faults_of(
        schedulers.check_scheduler,
        victim.scheduler,
        cfg.sampling.scheduler,
        cfg.sampling.steps,
        (1.0,),
    )
    faults += faults_of(check_new_folder, state.keep_model)
    if faults:
        raise UserError(*faults)


def check_new_folder(folder: Path | None) -> None:
    """Refuse a place for a model where something is, but for an empty folder.

    Raises:
        UserError: something is there.
    """
    if folder is None or not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    raise UserError(f"{folder} exists already; name a new folder for the model.")
