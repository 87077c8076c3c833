"""What of the contract shows when a method runs."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from cloakwork import registry
from cloakwork.errors import UserError
from cloakwork.evaluation.returned import check_photos, title
from cloakwork.evaluation.run import run_protection
from cloakwork.photos.preprocessing import preprocess
from cloakwork.state import RunState
from cloakwork.types import Photos
from cloakwork.workflows.check_module import SHIFT
from cloakwork.workflows.check_trial import (
    RUN,
    SHORT,
    Trial,
    copies,
    lean,
    others_at,
    protected,
    rng,
    run,
    same,
    scored,
    weights,
)

Find = Callable[[Trial], Iterable[str]]
"""a trial -> the faults that it shows, one sentence each"""

# a protection's fields as they are shortened to see an effect, unless its module's TRIAL says
# otherwise
EFFECT: dict[str, Any] = {"steps": 20, "outer": 6, "class_images": 2, "surrogate_steps": 6}


def runs(trial: Trial) -> Iterator[str]:
    """Find that a method returns something else than it must, or writes to what it is given."""
    given, before = copies(trial.photos), weights(trial.model)
    found = attempt(trial, partial(_ran, photos=given, how=RUN[trial.method.kind]))
    if not same(given, trial.photos):
        # what it returned was compared with photos that are no longer those it was given
        yield (
            f"{title(trial.method)} wrote to the photos that it was given. "
            "Clone them before you change them in place."
        )
    else:
        yield from found
    if weights(trial.model) != before:
        yield (
            f"{title(trial.method)} changed the weights of the model that it was given. "
            "Train a copy (LDM.copy)."
        )


def draws_from_rng(trial: Trial) -> Iterator[str]:
    """Find randomness from elsewhere than `rng`."""
    made = []
    for seed in (0, 1):
        with others_at(seed):
            made.append(run(trial, trial.photos))
    if not same(*made):
        metric = trial.method.kind == "metrics"
        advice = "Draw from a generator with a seed of its own" if metric else "Draw from rng alone"
        yield (
            f"{title(trial.method)} gave something else when it ran again with the same seed. "
            f"{advice}: torch's own generator, numpy's and Python's stand elsewhere in every run."
        )


def unusual_photos(trial: Trial) -> Iterator[str]:
    """Find photos that a method cannot take: without any contrast, oblong, alone."""
    window = trial.model.size if getattr(trial.module, "WINDOWS", False) else 64
    grey, black, white = (torch.full((3, window, window), v) for v in (0.5, 0.0, 1.0))
    oblong = torch.full((3, window, window * 3 // 2), 0.5)
    for words, photos in {
        "grey, black and white photos": [grey, black, white],
        "a single photo": trial.photos[:1],
        "an oblong grey photo": [oblong],
    }.items():
        given = [p.to(trial.photos[0]) for p in photos]
        if found := attempt(trial, partial(_ran, photos=given)):
            yield f"Given {words}: {found[0]}"
            return


def no_budget(trial: Trial) -> Iterator[str]:
    """Find that a budget of 0 changes photos (`run_protection` refuses that)."""
    bare = partial(protected, budget=0.0, outer=1)
    yield from _ran(trial, copies(trial.photos[:2]), bare)


def one_by_one(trial: Trial) -> Iterator[str]:
    """Find a declared SINGLY of a method that gives other photos one by one than together."""
    if not getattr(trial.module, "SINGLY", False):
        return
    draws, method = rng(), trial.short(SHORT)
    single = partial(run_protection, method, models=trial.models, clean=None, rng=draws)
    alone = [single([photo], state=RunState())[0] for photo in copies(trial.photos)]
    if not same(alone, protected(trial, copies(trial.photos))):
        yield (
            f"{title(trial.method)} declares SINGLY, and gave other photos one by one than "
            "together. Draw for one photo after the other, or leave SINGLY out."
        )


def resumption(trial: Trial) -> Iterator[str]:
    """Find that an interrupted run, of a protection that keeps checkpoints, goes on otherwise."""
    seen: list[tuple[int, int]] = []

    def watch(label: str, done: int, total: int) -> None:
        if not label:  # a label: what comes before the photos are touched
            seen.append((done, total))

    def stop(label: str, done: int, total: int) -> None:
        if not label and done == total // 2 + 1:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.safetensors"
        whole = protected(trial, copies(trial.photos), RunState(progress=watch))
        if not seen or seen[0][1] < 2:
            return
        try:
            protected(trial, copies(trial.photos), RunState(file, "", stop, 0))
        except KeyboardInterrupt:
            seen.clear()
        else:
            return
        resumed = protected(trial, copies(trial.photos), RunState(file, "", watch, 0))
    if seen[0][0] == 1:
        yield (
            f"{title(trial.method)} began again after an interruption, though it keeps "
            "checkpoints. Begin with state.resume(rng)."
        )
    elif not same(whole, resumed):
        yield (
            f"{title(trial.method)} gave other photos after an interruption. "
            "Keep all that changes from step to step in its checkpoints."
        )


def effect(trial: Trial, state: RunState) -> Photos:
    """Return photos protected with a schedule that is long enough to see an effect."""
    method = trial.short(EFFECT, lean(trial.module))
    photos = copies(trial.photos)
    deltas = run_protection(method, photos, trial.models, clean=None, rng=rng(), state=state)
    return [p + d.to(p) for p, d in zip(trial.photos, deltas, strict=True)]


def weakness(trial: Trial, protected: Photos) -> Iterator[str]:
    """Find that latents move less than they must, against random noise of the same budget."""
    noise = registry.load("protections", "noise")
    budget = noise.Config(budget=trial.method.config.budget)
    noisy = noise.protect(trial.photos, [], budget, clean=None, rng=rng(), state=RunState())
    with torch.no_grad():
        clean, aimed, noised = (
            trial.model.encode(preprocess(p, trial.model.size))
            for p in (trial.photos, protected, noisy)
        )
    moved = ((aimed - clean).norm() / (noised - clean).norm()).item()
    least = getattr(trial.module, "SHIFT", SHIFT)
    if not moved >= least:
        yield (
            f"{title(trial.method)} moves latents {moved:.2f} times as far as random noise of the "
            f"same budget does, on {trial.model.name}; the least is {least:g}. Follow a gradient "
            "that random noise does not, or state a SHIFT of 1 or more with its reason."
        )


def moves_latents(trial: Trial) -> Iterator[str]:
    """Find that a protection that looks at a model is hardly better than random noise."""
    if trial.model and trial.method.config.budget:
        yield from weakness(trial, effect(trial, RunState()))


def smooth_form(trial: Trial) -> Iterator[str]:
    """Find that the differentiable form of a purifier, where it has one, has no gradient."""
    if not hasattr(trial.module, "smooth"):
        return
    photo = trial.photos[2].clone().requires_grad_()
    config = trial.short(lean(trial.module)).config
    made = trial.module.smooth([photo], trial.model, config, rng=rng())
    check_photos(trial.method, [photo], made)
    gradient = None
    if made[0].requires_grad:
        (gradient,) = torch.autograd.grad(made[0].square().sum(), photo, allow_unused=True)
    if gradient is None or not gradient.isfinite().all() or not gradient.any():
        yield (
            f"smooth() of '{trial.method.name}' has no gradient that can be followed. "
            "Leave it out, and the gradient of the identity is taken."
        )


def without_prompts(trial: Trial) -> Iterator[str]:
    """Find that a metric cannot do without prompts (`Unscored` is an answer)."""
    unasked = partial(scored, prompts=False)
    found = attempt(trial, partial(_ran, photos=copies(trial.photos), how=unasked))
    yield from (f"Given no prompts: {sentence}" for sentence in found)


def _ran(
    trial: Trial, photos: Photos, how: Callable[[Trial, Photos], Photos] = run
) -> Iterator[str]:
    """Run a method; what it raises is a fault, what it returns is none."""
    how(trial, photos)
    return iter(())


# stages, and what is looked for in each: a stage is run only where those before it found nothing
STAGES: tuple[dict[str, Find], ...] = (
    {"what it returns, and that it writes to nothing it is given": runs},
    {"randomness from rng alone": draws_from_rng},
    {"grey, black, white, single and oblong photos": unusual_photos},
)
OF_ONE_KIND: dict[str, dict[str, Find]] = {
    "protections": {
        "a budget of 0": no_budget,
        "photos one by one, where it declares SINGLY": one_by_one,
        "interruption": resumption,
        "latents' shift against random noise": moves_latents,
    },
    "purifiers": {"its differentiable form": smooth_form},
    "metrics": {"no prompts": without_prompts},
}


def stages(kind: str) -> tuple[dict[str, Find], ...]:
    """Return what is looked for in a method of a kind, stage after stage."""
    *first, last = STAGES
    return (*first, last | OF_ONE_KIND.get(kind, {}))


def attempt(trial: Trial, find: Find) -> list[str]:
    """Return what a check finds; an exception that the method raises is a fault too."""
    try:
        return list(find(trial))
    except UserError as error:
        return list(error.sentences)
    except Exception as error:
        return [f"{title(trial.method)} raised {raised(error, trial.module)}"]


def raised(error: BaseException, module: ModuleType | None = None) -> str:
    """Return an exception in words, with the place in the user's module, if it passed there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if module and f.filename == module.__file__] or frames
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}."
