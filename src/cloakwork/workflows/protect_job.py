"""What is to be done: a job, the photo sets it is to be done to, and what forbids it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from cloakwork import registry
from cloakwork.errors import UserError, faults_of
from cloakwork.files import hash_of
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import pgd, targets
from cloakwork.photos.budget import WORK_SIDE, working_copy
from cloakwork.photos.photo import check_quality, load_photo
from cloakwork.photos.sets import PhotoSet, find_sets, load_all
from cloakwork.workflows.records import read_result


@dataclass(frozen=True)
class ProtectJob:
    """Everything that decides a protected photo's bytes, beside the photos."""

    protection: str
    module: ModuleType
    config: Any
    surrogates: list[LDM]
    seed: int
    clean: dict[Path, tuple[str, Tensor]]
    """unprotected photos the protection may learn from: file -> digest and working copy"""
    suffix: str
    quality: int
    strip_metadata: bool

    @property
    def device(self) -> torch.device:
        return self.surrogates[0].device if self.surrogates else torch.device("cpu")

    def rng(self, digests: list[str]) -> torch.Generator:
        """From seed and photos alone, so that two methods, budgets or formats are compared at the
        same random draws.
        """
        return torch.Generator().manual_seed(int(hash_of([self.seed, sorted(digests)])[:15], 16))

    def work_key(self, digests: list[str]) -> str:
        """Hash of all that decides the perturbation: a checkpoint may be gone on with only by the
        very same computation.
        """
        return hash_of([self._parts(digests), torch.__version__, torch.get_num_threads()])

    def key(self, digests: list[str]) -> str:
        """Hash of the job and of the photos' contents, whatever their names and order: names the
        result.
        """
        return hash_of([self._parts(digests), self.suffix, self.quality, self.strip_metadata])

    def _parts(self, digests: list[str]) -> dict[str, Any]:
        return {
            "protection": self.protection,
            "version": self.module.VERSION,
            "config": registry.settings(self.config),
            "instrument": registry.instrument(self.module, self.config),
            "target": targets.digest(self.config),
            "surrogates": [
                (m.weights, str(m.dtype), m.device.type, m.sample_posterior)
                for m in self.surrogates
            ],
            "seed": self.seed,
            "clean": sorted(digest for digest, _ in self.clean.values()),
            "photos": sorted(digests),
            "how": [WORK_SIDE, pgd.MICRO_BATCH],
        }


@dataclass(frozen=True)
class PhotoSetTask:
    """One photo set to be protected."""

    name: str
    photos: list[tuple[Path, Path]]
    """original and output, sorted by the originals' contents, so that the order they were named in
    does not matter"""
    folder: Path
    """where record, sheet and checkpoint go"""
    digests: list[str]
    key: str


def references(
    clean: Path | str | None, out: Path, sets: list[PhotoSet]
) -> dict[Path, tuple[str, Tensor]]:
    """The clean photos of the one subject: file -> digest and working copy."""
    if clean is None:
        return {}
    if len(sets) > 1:
        raise UserError(
            f"{len(sets)} photo sets were given with one folder of clean photos; protect one subject at a time."
        )
    found, _ = load_all(find_sets([clean], out), skip_bad=False)
    photos = [load_photo(f) for s in found for f in s.files]
    return {
        p.path: (p.digest, working_copy(p.pixels)) for p in sorted(photos, key=lambda p: p.digest)
    }


def task_of(job: ProtectJob, photos: PhotoSet, folder: Path) -> PhotoSetTask:
    """A photo set with its key, its photos in the order of their contents; every photo is loaded
    once.
    """
    digests = [
        load_photo(f).digest for f in photos.files
    ]  # one photo at a time: a set may be larger than the memory
    order = sorted(zip(digests, photos.files, photos.outputs, strict=True))
    return PhotoSetTask(
        photos.name, [(f, o) for _, f, o in order], folder, digests, job.key(digests)
    )


def refuse_overwriting(tasks: list[PhotoSetTask]) -> None:
    """Existing outputs stop the job before it computes anything, unless this very job wrote
    them.
    """
    there = [o for t in tasks if not _wrote(t) for _, o in t.photos if o.exists()]
    if there:
        raise UserError(
            *[
                f"{o} exists already; give --force to overwrite it, or another output folder."
                for o in there
            ]
        )


def _wrote(task: PhotoSetTask) -> bool:
    """Whether the same job has finished this set before, or was stopped while it saved it."""
    saving = task.folder / "saving.json"
    stopped = saving.is_file() and task.key in saving.read_text()
    return stopped or read_result(task.folder, task.key) is not None


def check_config(
    config: Any, quality: int = 95, surrogates: Sequence[str] | None = ("tiny",)
) -> None:
    """Bounds that hold for every protection, all faults together.

    Raises:
        UserError: one sentence a fault.
    """
    faults = [*faults_of(check_quality, quality)]
    if not 0 <= config.budget <= 255:
        faults.append(
            f"The budget {config.budget:g} is out of range; allowed are 0 to 255 (1/255 of the pixel range), usual are 4 to 16."
        )
    elif 0 < config.budget < 1:
        faults.append(
            f"The budget {config.budget:g} changes no pixel of an 8-bit file; budgets are in 1/255 of the pixel range, so the "
            f"papers' .05 on [-1, 1] is 6.4 here."
        )
    if surrogates is not None and not surrogates:
        faults.append("No surrogate was named; name a model to protect against, such as tiny.")
    for name, value in asdict(config).items():
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and not 0 <= value < math.inf
        ):
            faults.append(f"The field {name} is {value}; it must be a number of 0 or more.")
    step = getattr(config, "step", None)
    if step == 0:
        faults.append("The step is 0; it must be over 0 (1/255 of the pixel range).")
    if faults:
        raise UserError(*faults)
