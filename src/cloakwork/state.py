"""The state of a long run: its checkpoint, from which it resumes, and its progress."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from cloakwork.errors import NotFinite, UserError
from cloakwork.files.tensors import read_tensors, write_tensors
from cloakwork.types import Limit, Photos

Progress = Callable[[str, int, int], None]  # label, done, total
Watch = Callable[[int, Tensor], None]  # steps done, pictures
# steps whose values may wait on the device: reading one makes an accelerator wait for it
UNREAD = 16


class RunState:
    """The memory of one run of one method: its last checkpoint, its loss trace, its progress bar.

    A checkpoint is written every `checkpoint_seconds` at most, under a temporary name, and renamed.
    The random generator is part of it, so an interrupted run that goes on gives the same bytes as
    one that was left alone. A checksum is part of it too, so a damaged one is begun again from the
    start, with a sentence in `notes`.

    Args:
        path: the checkpoint file, or None to keep nothing.
        label: what the progress bar is called.
        progress: called with the label, the steps done and their total.
        checkpoint_seconds: seconds between two checkpoints; None takes
            $CLOAKWORK_CHECKPOINT_SECONDS, else 15.
        sample_every: training steps between two looks at what the model draws by then (0: none).
            They change nothing.
        watch: called with the steps done and those pictures, n x 3 x S x S in [0, 1].
        keep_model: a new folder for the model that an attacker has trained, in the format that
            diffusers loads.
        limits: how far each photo may change, 1/255, or a map of its pixels, 1 x H x W; none: by
            the budget everywhere.
    """

    def __init__(
        self,
        path: Path | None = None,
        label: str = "",
        progress: Progress | None = None,
        checkpoint_seconds: float | None = None,
        *,
        sample_every: int = 0,
        watch: Watch | None = None,
        keep_model: Path | None = None,
        limits: Sequence[Limit] = (),
    ) -> None:
        self.path, self.label, self.progress = path, label, progress
        self.checkpoint_seconds = (
            _usual_seconds() if checkpoint_seconds is None else checkpoint_seconds
        )
        self.sample_every, self.watch, self.keep_model = sample_every, watch, keep_model
        self.limits = limits
        self.start: Photos = []  # where PGD begins; none: at the photos
        self.notes: list[str] = []  # what the user is told of this run
        self._trace: list[float] = []
        self._dead_steps = 0
        self._unread: list[tuple[Tensor, Tensor, Tensor, str]] = []
        self._kept, self._cost = time.monotonic(), 0.0

    def record(self, value: Tensor, finite: Tensor, alive: Tensor, refusal: str) -> None:
        """Add a step to the trace, without waiting for the device.

        Args:
            value: what the step raises or lowers, a scalar.
            finite: whether all that was computed is a number, a scalar.
            alive: whether anything had a gradient, a scalar.
            refusal: the sentence for a step that is not finite.

        Raises:
            NotFinite: this step, or one of the last few, is not finite.
        """
        self._unread.append((value.detach(), finite, alive, refusal))
        if len(self._unread) >= UNREAD:
            self.settle()

    def settle(self) -> None:
        """Read what was recorded.

        Raises:
            NotFinite: a step is not finite.
        """
        if not self._unread:
            return
        steps, self._unread = self._unread, []
        rows = [torch.stack([value, *(x.to(value) for x in told)]) for value, *told, _ in steps]
        for (value, finite, alive), (*_, refusal) in zip(
            torch.stack(rows).tolist(), steps, strict=True
        ):
            self._trace.append(value)
            if not finite:
                raise NotFinite(refusal)
            self._dead_steps += not alive

    @property
    def trace(self) -> list[float]:
        """The value of every step so far."""
        self.settle()
        return self._trace

    @trace.setter
    def trace(self, values: list[float]) -> None:
        self._trace, self._unread = values, []

    @property
    def dead_steps(self) -> int:
        """Steps of PGD whose gradient was zero everywhere."""
        self.settle()
        return self._dead_steps

    @dead_steps.setter
    def dead_steps(self, count: int) -> None:
        self._dead_steps = count

    def resume(self, rng: torch.Generator) -> tuple[int, dict[str, Tensor]]:
        """Read the last checkpoint, and set `rng` to where it was then.

        Returns:
            Steps done and the tensors kept with them; (0, {}) where there is none, or it is
            damaged or of a version that kept no checksum.
        """
        if self.path is None or not self.path.is_file():
            return 0, {}
        try:
            saved = read_tensors(self.path) or {}
            done, dead = int(saved.pop("done")), int(saved.pop("dead"))
            trace = saved.pop("trace").tolist()
            rng.set_state(saved.pop("rng"))
        except (KeyError, ValueError, TypeError, RuntimeError):
            self.notes.append(
                f"The checkpoint {self.path} is damaged or another version's. "
                "The computation began again."
            )
            return 0, {}
        self.trace, self.dead_steps = trace, dead
        return done, saved

    def checkpoint(
        self, done: int, total: int, rng: torch.Generator, tensors: Callable[[], dict[str, Tensor]]
    ) -> None:
        """Report step `done` of `total`, and write a checkpoint when one is due.

        `tensors` is called only then.

        Raises:
            NotFinite: a step since the last checkpoint is not finite.
        """
        if self.progress:
            self.progress(self.label, done, total)
        wait = max(self.checkpoint_seconds, 20 * self._cost) if self.checkpoint_seconds else 0
        if done == total:
            self.settle()
        if self.path is None or done == total or time.monotonic() - self._kept < wait:
            return
        self.settle()  # nothing is kept of a computation that burst
        begun = time.monotonic()
        now = {k: v.detach().cpu() for k, v in tensors().items()}
        now |= {
            "rng": rng.get_state(),
            "done": torch.tensor(done),
            "dead": torch.tensor(self.dead_steps),
            "trace": torch.tensor(self.trace, dtype=torch.float64),
        }
        write_tensors(self.path, now, checksum=True)
        self._kept = time.monotonic()
        # large models take seconds to write: no more than a twentieth of the time
        self._cost = self._kept - begun

    def preview(self, done: int, draw: Callable[[], Tensor]) -> None:
        """Draw pictures (n x 3 x S x S in [0, 1]) for `watch` when step `done` is one for it."""
        if self.watch is not None and self.sample_every and done % self.sample_every == 0:
            self.watch(done, draw())


def numbered(photos: Photos) -> dict[str, Tensor]:
    """Return photos under the names that they have in a checkpoint."""
    return {f"x.{i}": p for i, p in enumerate(photos)}


def photos_of(saved: Mapping[str, Tensor], like: Photos) -> Photos:
    """Return a checkpoint's photos, on the devices of as many others."""
    return [saved[f"x.{i}"].to(p.device) for i, p in enumerate(like)]


def owned(saved: Mapping[str, Tensor], owner: str) -> dict[str, Tensor]:
    """Return a checkpoint's tensors whose names begin with their owner's, without it.

    >>> owned({"0.a": torch.tensor(1), "1.a": torch.tensor(2)}, "1.")
    {'a': tensor(2)}
    """
    return {k.removeprefix(owner): v for k, v in saved.items() if k.startswith(owner)}


def _usual_seconds() -> float:
    """Return the seconds between two checkpoints that the environment says, else 15.

    Raises:
        UserError: it says no number.
    """
    said = os.environ.get("CLOAKWORK_CHECKPOINT_SECONDS", "15")
    try:
        return float(said)
    except ValueError:
        raise UserError(
            f"CLOAKWORK_CHECKPOINT_SECONDS is '{said}'; give seconds, such as 15."
        ) from None
