"""What is to be done: a job, the photo sets it is to be done to, and what forbids it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from cloakwork.errors import UserError, faults_of
from cloakwork.evaluation.run import KEPT_GREY, SEEDING, protection_rng
from cloakwork.evaluation.sources import Source
from cloakwork.files import hash_of
from cloakwork.models import autoencoders
from cloakwork.models.encoder import Encoder
from cloakwork.perturbation import pgd, targets
from cloakwork.photos.masks import Masks, shrink
from cloakwork.photos.rounding import WORK_SIDE
from cloakwork.photos.saving import check_quality, quality_key
from cloakwork.photos.sets import SAME, PhotoSet, find_sets, load_all
from cloakwork.photos.sheets import ROWS
from cloakwork.photos.sizes import check_width
from cloakwork.specs import Method
from cloakwork.workflows.at_hand import AtHand
from cloakwork.workflows.protect_surrogates import sizes_of
from cloakwork.workflows.records import begun_to_save, read_result

# an encoder at hand, and the side of what it sees in pixels, where a trained protection asks none
JUDGE, JUDGE_SIZE = "sd:tiny", 384


@dataclass(frozen=True)
class ProtectJob:
    """Everything that decides a protected photo's bytes, beside the photos."""

    method: Method
    surrogates: Sequence[Encoder]
    seed: int
    clean: Source | None
    """unprotected photos that the protection may learn from"""
    suffix: str
    quality: int | None
    strip_metadata: bool
    strip_gps: bool = False
    masks: Masks | None = None
    """where photos may change; None: everywhere"""
    width: int | None = None
    """pixels that photos are wide at most, as a platform shows them"""
    halved: bool = False
    """colours of JPEG have half the resolution, as platforms have them"""

    @property
    def device(self) -> torch.device:
        """The surrogates' device, or the CPU without any."""
        return self.surrogates[0].device if self.surrogates else torch.device("cpu")

    @property
    def config(self) -> Any:
        """The protection's Config."""
        return self.method.config

    @property
    def judge(self) -> Encoder | None:
        """By whose latents it is told what a file keeps; None where no model was thought of."""
        if self.surrogates:
            return self.surrogates[0]
        if not getattr(self.method.module, "TRAINED_AGAINST", ""):
            return None
        return replace(autoencoders.load(JUDGE, "cpu"), sizes=(JUDGE_SIZE,))

    def mask(self, file: Path, like: torch.Tensor) -> torch.Tensor | None:
        """Return where a photo may change, 1 x h x w as a copy of it; None: everywhere."""
        return None if self.masks is None else shrink(self.masks.of(file), like)

    def rng(self, photos: Source) -> torch.Generator:
        """Return what the protection draws from, the same as in a benchmark."""
        return protection_rng(self.seed, [s.key for s in (photos, self.clean) if s])

    def work_key(self, photos: Source, masked: Sequence[str] = ()) -> str:
        """Return the hash of all that decides the perturbation.

        A run may go on from a checkpoint only if it would have computed the very same.
        """
        parts = self._parts(photos) | ({"masks": list(masked)} if masked else {})
        return hash_of([parts, torch.__version__, torch.get_num_threads()])

    def key(
        self,
        photos: Source,
        outputs: Sequence[Path],
        revised: Iterable[str] = (),
        masked: Sequence[str] = (),
    ) -> str:
        """Return the hash of the job and of the photos' contents: names of files do not matter.

        Args:
            photos: the set.
            outputs: where they go; of these only the endings count.
            revised: `photo.revisions` of any of them.
            masked: a hash of each photo's mask; none where they have none.
        """
        suffix = [o.suffix for o in outputs] if self.suffix == SAME else self.suffix
        quality, late = quality_key(outputs, self.quality)
        parts = [self._parts(photos), suffix, quality, self.strip_metadata]
        late += ["no place"] if self.strip_gps else []
        late += [["masks", *masked]] if masked else []
        late += ["4:2:0"] if self.halved else []
        return hash_of([*parts, *sorted(revised), *late])

    def _parts(self, photos: Source) -> dict[str, Any]:
        return {
            "protection": self.method.name,
            "version": self.method.code,
            "config": self.method.settings,
            "instrument": self.method.networks,
            "target": targets.digest(self.config),
            "surrogates": [
                (m.weights, str(m.dtype), m.device.type, m.sample_posterior, *sizes_of(m))
                for m in self.surrogates
            ],
            "seed": self.seed,
            "clean": self.clean.digests if self.clean else (),
            "photos": photos.digests,
            "how": [WORK_SIDE, pgd.MICRO_BATCH, SEEDING],
            **({"grey": KEPT_GREY} if photos.grey else {}),
            **({"width": photos.width} if photos.width else {}),
        }


@dataclass(frozen=True)
class PhotoSetTask:
    """One photo set to be protected."""

    name: str
    source: Source
    """the originals, in the order of their contents: names and their order do not matter"""
    outputs: tuple[Path, ...]
    """in the same order"""
    out: Path
    """the set's own folder in the output folder; of several folders' photos, the one over theirs"""
    folder: Path
    """where record, sheet and checkpoint go"""
    key: str
    masked: tuple[str, ...] = ()
    """a hash of each photo's mask, in the same order; none where they have none"""
    at_hand: AtHand = field(default_factory=AtHand, compare=False)
    """what is kept of the run's photos"""

    @property
    def photos(self) -> list[tuple[Path, Path]]:
        """Original and output of each photo."""
        return list(zip(self.source.files, self.outputs, strict=True))

    @property
    def contents(self) -> dict[Path, str]:
        """Each output, and the sha256 of its original's pixels."""
        return dict(zip(self.outputs, self.source.digests, strict=True))

    @cached_property
    def shown(self) -> set[Path]:
        """The outputs that the sheet shows: the first ones by name."""
        return set(sorted(self.outputs)[:ROWS])


def clean_photos(clean: Path | str | None, out: Path, sets: list[PhotoSet]) -> Source | None:
    """Return the clean photos of the one subject, if the user named any."""
    if clean is None:
        return None
    if len(sets) > 1:
        raise UserError(
            f"{len(sets)} photo sets were given with one folder of clean photos. "
            "Protect one subject at a time."
        )
    clean_sets, _ = load_all(find_sets([clean], out), skip_bad=False)
    digests, files = zip(
        *sorted(pair for s in clean_sets for pair in zip(s.digests, s.files, strict=True)),
        strict=True,
    )
    return Source(files, digests)


def task_of(
    job: ProtectJob,
    photos: PhotoSet,
    out: Path,
    folder: Path,
    at_hand: AtHand | None = None,
    masks: Mapping[Path, str] | None = None,
) -> PhotoSetTask:
    """Return a photo set with its key.

    Args:
        job: what is done to it.
        photos: the set, as `load_all` gives it.
        out: the output folder.
        folder: for its record, sheet and checkpoint.
        at_hand: what is kept of the run's photos.
        masks: a hash of each photo's mask.
    """
    digests, files, outputs = zip(
        *sorted(zip(photos.digests, photos.files, photos.outputs, strict=True)), strict=True
    )
    originals = Source(files, digests, grey=photos.grey, width=job.width)
    name = photos.name
    masked = tuple(masks[file] for file in files) if masks else ()
    key = job.key(originals, outputs, photos.revisions, masked)
    return PhotoSetTask(
        name, originals, outputs, out / name, folder, key, masked, at_hand or AtHand()
    )


def refuse_overwriting(tasks: list[PhotoSetTask]) -> None:
    """Refuse to overwrite existing outputs, unless this very job wrote them."""
    existing = [o for t in tasks for o in set(t.outputs) - _own(t) if o.exists()]
    if existing:
        raise UserError(
            *[
                f"{o} exists already; give --force to overwrite it, or another output folder."
                for o in sorted(existing)
            ]
        )


def _own(task: PhotoSetTask) -> set[Path]:
    """Return the outputs of the same job: of a finished run, or of one stopped while saving."""
    if read_result(task.folder, task.key, task.contents) is not None:
        return set(task.outputs)
    return begun_to_save(task.folder, task.key, task.outputs)


def check_config(
    config: Any,
    quality: int | None = None,
    surrogates: Sequence[str] | None = ("tiny",),
    width: int | None = None,
) -> None:
    """Check bounds that hold for every protection.

    Raises:
        UserError: one sentence a fault.
    """
    faults = [*faults_of(check_quality, quality), *faults_of(check_width, width)]
    if not 0 <= config.budget <= 255:
        faults.append(
            f"The budget {config.budget:g} is out of range; allowed are 0 to 255 "
            "(1/255 of the pixel range), usual are 4 to 16."
        )
    elif 0 < config.budget < 1:
        faults.append(
            f"The budget {config.budget:g} changes no pixel of an 8-bit file. "
            "Budgets are in 1/255 of the pixel range. The papers' .05 on [-1, 1] is 6.4 here."
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
