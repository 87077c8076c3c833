"""What the parts of a run have to do, for a forecast: methods run on a hollow model (`dry_run`),
and their passes are counted loop by loop, as they report them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial

import torch

from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Step, Workspace, graph
from cloakwork.models.counting import one_turn_each
from cloakwork.models.ldm import LDM
from cloakwork.specs import Method, word
from cloakwork.state import Progress, RunState
from cloakwork.types import Photos
from cloakwork.workflows.dry_run import run_hollow
from cloakwork.workflows.forecast import Forecast, Part, telling
from cloakwork.workflows.protect_job import PhotoSetTask, ProtectJob
from cloakwork.workflows.tally import Counts, Tally

LAST = "what is left"  # of what a method does after its last loop
CLASS_PICTURES = "class pictures"  # how drawing them is reported
Run = Callable[[Photos, list[LDM], RunState], object]
# the loops that a method reports, in order, and the work of each
Loops = Sequence[tuple[str, Mapping[str, float]]]


class Workloads:
    """The work of methods, each counted once."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[Loops, Counts | None]] = {}
        self._drawn: dict[tuple[object, ...], str] = {}

    def protection(
        self,
        method: Method,
        *,
        photos: int,
        surrogates: int,
        clean: int,
        step: str,
        loop: str,
        models: Hashable = None,
    ) -> list[Part]:
        """Return the parts of one protection.

        Args:
            method: the protection.
            photos, surrogates, clean: how many it gets.
            step: what it is called in the forecast.
            loop: what its own loop reports itself as.
            models: what tells the surrogates from those of other protections here.
        """
        loops, _ = self._protection(method, photos, surrogates, clean)
        return _parts(self._first(loops, method, step, models), method, step, loop)

    def passes(self, method: Method, *, photos: int, surrogates: int, clean: int) -> Counts | None:
        """Return all passes of one protection, as `dry_run.count` does; None where the hollow model
        cannot stand for what it asks for.
        """
        return self._protection(method, photos, surrogates, clean)[1]

    def _protection(
        self, method: Method, photos: int, surrogates: int, clean: int
    ) -> tuple[Loops, Counts | None]:
        """Return the loops of one protection, and all its passes."""

        def run(images: Photos, models: list[LDM], state: RunState) -> None:
            method.module.protect(
                images[:photos],
                models,
                method.config,
                clean=images[photos:] or None,
                rng=torch.Generator().manual_seed(0),
                state=state,
            )

        how = photos, surrogates, clean
        return self._work(method, run, how, photos + clean, surrogates)

    def attack(
        self, method: Method, *, photos: int, prompts: int, step: str, models: Hashable = None
    ) -> list[Part]:
        """Return the parts of one attack, which asks for so many prompts; `models` as in
        `protection`.
        """

        def run(images: Photos, models: list[LDM], state: RunState) -> None:
            method.module.attack(
                images,
                models[0],
                method.config,
                prompts * ["a photo of sks person"],
                masks=None,
                rng=torch.Generator().manual_seed(0),
                state=state,
            )

        loops, _ = self._work(method, run, (photos, prompts), photos, 1)
        return _parts(self._first(loops, method, step, models), method, step, method.name)

    def steps(self, found: Mapping[str, Step]) -> list[Part]:
        """Return the parts of a store's steps, by their names there."""
        return [part for name, step in found.items() for part in self._step(name, step)]

    def _step(self, name: str, step: Step) -> list[Part]:
        n, method = _photos(step), step.method
        if not isinstance(method, Method) or step.kind in ("score", "purify"):
            work = {"scores": 1.0} if step.kind == "score" else {"photos purified": float(n)}
            return [Part(name, "", work, (step.kind, step.name))]
        who: Hashable = (step.models, step.dtype)
        if step.kind == "attack":
            prompts = len(step.prompts)
            return self.attack(method, photos=n, prompts=prompts, step=name, models=who)
        clean = sum(_photos(i) for i in step.inputs[1:])
        return self.protection(
            method,
            photos=n,
            surrogates=len(step.models),
            clean=clean,
            step=name,
            loop=step.name,
            models=who,
        )

    def _first(self, loops: Loops, method: Method, step: str, models: Hashable) -> Loops:
        """Return a step's loops without the work of class pictures that an earlier step draws: they
        are kept.
        """
        what = getattr(method.config, "class_prompt", repr(method.config))
        found: list[tuple[str, Mapping[str, float]]] = []
        for place, (loop, work) in enumerate(loops):
            which = (models, what, place, *sorted(work.items()))
            drawn = loop == CLASS_PICTURES and self._drawn.setdefault(which, step) != step
            found.append((loop, {} if drawn else work))
        return found

    def _work(
        self, method: Method, run: Run, how: tuple[int, ...], photos: int, models: int
    ) -> tuple[Loops, Counts | None]:
        """Return the loops and passes of a run, from an earlier count where there is one."""
        known = (method.kind, word(method), repr(method.config), *how)
        if known not in self._known:
            try:
                self._known[known] = _counted(run, photos, models)
            except Exception:  # the hollow model cannot stand for what it asks for
                steps = float(getattr(method.config, "steps", 1))
                self._known[known] = [("", {"training_steps": steps})], None
        return self._known[known]


def _photos(step: Step | Source) -> int:
    """Return the number of photos that a step begins with."""
    return len(step.files) if isinstance(step, Source) else _photos(step.inputs[0])


def _counted(run: Run, photos: int, models: int) -> tuple[Loops, Counts]:
    """Return the loops that a method reports, with the work that it does until they do, and all its
    passes.
    """
    tally, last = Tally(), 0
    before: Counter[str] = Counter()
    found: list[tuple[str, Counter[str]]] = []

    def told(loop: str, done: int, total: int) -> None:
        nonlocal last
        if not found or found[-1][0] != loop or done <= last:
            found.append((loop, Counter()))
        last = done
        _move(tally, before, found[-1][1])

    with one_turn_each():
        run_hollow(run, tally, photos=photos, models=models, progress=told)
    rest: Counter[str] = Counter()
    _move(tally, before, rest)
    return [*found, (LAST, rest)] if rest else found, tally.counts.whole()


def _move(tally: Tally, before: Counter[str], to: Counter[str]) -> None:
    """Add to a loop's work what was done since before."""
    now = Counter(tally.pictures)
    now["unet calls"] = tally.counts.unet  # small batches take longer by the picture
    for kind, n in now.items():
        if kind != "pgd_steps" and n > before[kind]:
            to[kind] += n - before[kind]
    before.update(now - before)


def _parts(loops: Loops, method: Method, step: str, loop: str) -> list[Part]:
    """Return loops as parts of a step; a method's own loop has no name of its own there."""
    named = {"": loop, LAST: ""}
    like = partial(_like, method)
    return [Part(step, named.get(label, label), work, like(label)) for label, work in loops]


def _like(method: Method, label: str) -> tuple[str, ...]:
    """Return what parts share that cost the same for the same work."""
    return method.kind, method.name, repr(method.config), label


def protection_parts(
    job: ProtectJob, tasks: Sequence[PhotoSetTask], workloads: Workloads
) -> list[Part]:
    """Return the parts of a job that is to be done to photo sets; `workloads` knows what was
    counted before.
    """
    parts, clean = [], len(job.clean.files) if job.clean else 0
    singly = getattr(job.method.module, "SINGLY", False)
    for task in tasks:
        n = len(task.source.files)
        for size in n * [1] if singly else [n]:
            parts += workloads.protection(
                job.method,
                photos=size,
                surrogates=len(job.surrogates),
                clean=clean,
                step=task.key,
                loop=task.name or job.method.name,
            )
            parts.append(Part(task.key, "", {"photos written": float(size)}, "written"))
    return parts


def follow(
    workspace: Workspace, targets: Iterable[Step], progress: Progress, *, pass_on: bool = True
) -> None:
    """Let a workspace report the time that steps still take which are not in its store.

    Args:
        workspace: its `progress` and `finished` are set.
        targets: the steps, in the order in which they will be made.
        progress, pass_on: as in `forecast.telling`.
    """
    forecast = Forecast(Workloads().steps(graph(targets, workspace, missing=True)))
    workspace.progress = telling(forecast, progress, pass_on=pass_on)
    workspace.finished = forecast.finished
