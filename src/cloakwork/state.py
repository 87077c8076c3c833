"""The state of a long run: its checkpoint, from which it resumes, and its progress."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from cloakwork.files import read_tensors, write_tensors

Progress = Callable[[str, int, int], None]  # label, done, total
Watch = Callable[[int, Tensor], None]  # steps done, pictures


class RunState:
    """The memory of one run of one method: its last checkpoint, its loss trace, its progress bar.

    A checkpoint is written at most every `every` seconds, under a temporary name and then renamed.
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
    ) -> None:
        self.path, self.label, self.progress = path, label, progress
        usual = float(os.environ.get("CLOAKWORK_CHECKPOINT_SECONDS", "15"))
        self.checkpoint_seconds = usual if checkpoint_seconds is None else checkpoint_seconds
        self.sample_every, self.watch, self.keep_model = sample_every, watch, keep_model
        self.notes: list[str] = []  # what the user is told of this run
        self.trace: list[float] = []
        self.dead_steps = 0  # steps of PGD whose gradient was zero everywhere
        self._kept, self._cost = time.monotonic(), 0.0

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
        """
        if self.progress:
            self.progress(self.label, done, total)
        wait = max(self.checkpoint_seconds, 20 * self._cost) if self.checkpoint_seconds else 0
        if self.path is None or done == total or time.monotonic() - self._kept < wait:
            return
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
