"""Pictures in memory: protected, purified and scored as files are, and given back as they came.

A picture is a Pillow image (RGB or RGBA), a numpy array (H x W x 3) or a torch tensor (3 x H x W),
the last two of uint8 or of floats in [0, 1]; a fourth dimension in front makes a batch. Floats are
rounded to 8 bits first, as a file would hold them. A batch, or a list, is one photo set.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cloakwork import registry, specs
from cloakwork.errors import UserError, check_arguments
from cloakwork.evaluation.run import add_within, protection_rng, run_protection
from cloakwork.evaluation.sources import as_loaded
from cloakwork.metrics._measure import Measurement, measure
from cloakwork.models.encoder import Encoder
from cloakwork.photos.tensors import as_float
from cloakwork.state import Progress, RunState
from cloakwork.workflows.pictures import Pictures, read_pictures
from cloakwork.workflows.protect_job import check_config
from cloakwork.workflows.protect_method import named_protection
from cloakwork.workflows.protect_surrogates import load_surrogates
from cloakwork.workflows.purify_job import check_sizes, job_of
from cloakwork.workflows.shown import paper_note


def protect_images(
    images: Any,
    protection: specs.Given = registry.DEFAULT_PROTECTION,
    *,
    config: Any = None,
    preset: str | None = None,
    refine: int = 0,
    surrogates: Sequence[str] | str = ("tiny",),
    seed: int = 0,
    clean: Any = None,
    device: str = "auto",
    dtype: str = "float32",
    sample_posterior: bool = False,
    low_memory: bool = False,
    graphs: bool = False,
    fetch: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Any:
    """Protect pictures in memory: their pixels become those of the files that `protect` writes.

    Args:
        images: a picture, a batch or a list of pictures; see above.
        clean: further ones, unprotected, that the protector may learn from (set A).
        protection, config, preset, refine, surrogates, seed, device, dtype: as `protect` takes
            them.
        sample_posterior, low_memory, graphs, fetch, progress, settings: likewise.

    Returns:
        The protected pictures, of the same kind, dtype and shape. Transparency stays.

    Raises:
        UserError: pictures that are none, or too small; unknown methods; wrong settings.
    """
    arguments = check_arguments(protect_images, locals())
    method, names = named_protection(
        protection,
        surrogates,
        device,
        config=config,
        preset=preset,
        refine=refine,
        fetch=fetch,
        settings=settings,
        arguments=arguments,
    )
    uses_models = getattr(method.module, "USES_SURROGATES", True)
    check_config(method.config, surrogates=names if uses_models else None)
    given, known = read_pictures(images), None if clean is None else read_pictures(clean)
    models = load_surrogates(
        method,
        names if uses_models else (),
        device,
        dtype,
        sample_posterior=sample_posterior,
        low_memory=low_memory,
        graphs=graphs,
    )
    made = _protected(method, given, known, models, seed, progress)
    if config is not None or isinstance(protection, specs.Method):
        _warn(paper_note(method, names))
    return given.back(made)


def _protected(
    method: specs.Method,
    given: Pictures,
    known: Pictures | None,
    models: Sequence[Encoder],
    seed: int,
    progress: Progress | None,
) -> list[Tensor]:
    """Return pictures protected, each 3 x H x W, uint8, in the order of their contents."""
    where = models[0].device if models else torch.device("cpu")
    deltas = run_protection(
        method,
        [as_loaded(p.pixels).to(where) for p in given.sorted],
        models,
        clean=[as_loaded(p.pixels).to(where) for p in known.sorted] if known else None,
        rng=protection_rng(seed, [s.key for s in (given, known) if s]),
        state=RunState(None, method.name, progress),
    )
    pairs = zip(given.sorted, deltas, strict=True)
    return [add_within(method, p.pixels, delta) for p, delta in pairs]


def purify_images(
    images: Any,
    purifiers: specs.Chain = "jpeg",
    *,
    model: str = "tiny",
    denoiser: str = "tiny",
    seed: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    **settings: Any,
) -> Any:
    """Purify pictures in memory: their pixels become those of the files that `purify` writes.

    Args:
        images: a picture, a batch or a list of pictures; see above.
        purifiers, model, denoiser, seed, device, dtype: as `purify` takes them.
        settings: fields of the one purifier's Config, such as quality=75.

    Returns:
        The purified pictures, of the same kind, dtype and shape. Transparency stays.

    Raises:
        UserError: pictures that are none, or too small; unknown methods; wrong settings.
    """
    arguments = check_arguments(purify_images, locals())
    chain = specs.purifiers(purifiers, model, denoiser, settings=settings, arguments=arguments)
    given = read_pictures(images)
    job = job_of(chain, model, denoiser, seed, device, dtype)
    check_sizes(job.window, {p.name: p.pixels.shape[1:] for p in given.pictures})
    rngs = job.generators()
    return given.back([job.purify(p.photo, rngs) for p in given.sorted])


def score_images(
    images: Any,
    metrics: specs.Given | Sequence[specs.Given],
    *,
    reference: Any = None,
    prompt: str | None = None,
    **settings: Any,
) -> Any:
    """Measure pictures in memory.

    Args:
        images: a picture, a batch or a list of pictures; see above.
        metrics: names joined by commas, texts as on the command line, or as `specs.Method`.
        reference: the originals, one a picture and in the same order, for metrics of change; any
            clean pictures of the subject for the others.
        prompt: what all the pictures were asked for, for metrics of text.
        settings: fields of the one metric's Config.

    Returns:
        A number for a single picture, or for a metric of all pictures together; else a list with a
        number a picture. Several metrics: a dict of such. NaN, and a warning, where a metric could
        not be measured.

    Raises:
        UserError: pictures that are none, or too small; references that do not pair up; unknown
            metrics; wrong settings.
    """
    arguments = check_arguments(score_images, locals())
    chosen = specs.methods("metrics", metrics, settings=settings, arguments=arguments)
    if not chosen:
        raise UserError("No metric was named. `cloakwork list metrics` shows them.")
    given = read_pictures(images)
    pictures = [as_float(p.pixels) for p in given.pictures]
    clean = (
        None
        if reference is None
        else [as_float(p.pixels) for p in read_pictures(reference).pictures]
    )
    prompts = None if prompt is None else [prompt] * len(pictures)
    found = {m.name: measure(m.name, pictures, clean, prompts, m.config) for m in chosen}
    _warn([f"{name}: {m.reason}" for name, m in found.items() if m.reason])
    values = {m.name: _values(found[m.name], m, given.single) for m in chosen}
    several = len(chosen) > 1
    return values if several else next(iter(values.values()))


def _values(measured: Measurement, metric: specs.Method, single: bool) -> float | list[float]:
    """Return a number where there is one thing to be measured, else a list."""
    whole = single or metric.module.METRIC.scope == "set"
    return measured.values[0] if whole else measured.values


def _warn(notes: Sequence[str]) -> None:
    """Warn of what a record would hold in its notes."""
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=3)
