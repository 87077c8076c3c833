"""Pictures in memory: protected, purified and scored as files are, and given back as they came.

A picture is a Pillow image (RGB or RGBA), a numpy array (H x W x 3) or a torch tensor (3 x H x W),
the last two of uint8 or of floats in [0, 1]; a fourth dimension in front makes a batch. Floats are
rounded to 8 bits first, as a file would hold them. A batch, or a list, is one photo set.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cloakwork import registry, specs
from cloakwork.errors import UserError, check_arguments
from cloakwork.evaluation.run import add_within, protection_rng, run_protection
from cloakwork.evaluation.sources import Source, as_loaded
from cloakwork.metrics._measure import Measurement, measure
from cloakwork.models import latent_spaces
from cloakwork.perturbation.start import refined
from cloakwork.photos.decoding import MIN_SIDE
from cloakwork.photos.photo import Photo, digest_of
from cloakwork.photos.tensors import as_float, to_bytes
from cloakwork.state import Progress, RunState
from cloakwork.workflows.protect_job import check_config
from cloakwork.workflows.protect_surrogates import load_surrogates
from cloakwork.workflows.purify_job import check_sizes, job_of
from cloakwork.workflows.shown import paper_note

# bfloat16 cannot tell neighbouring levels of 8 bits apart
FLOATS = (torch.float16, torch.float32, torch.float64)


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
    surrogates = [surrogates] if isinstance(surrogates, str) else surrogates
    surrogates = latent_spaces.spelled(surrogates, device, fetch=fetch)
    method = specs.method(
        "protections",
        protection,
        surrogates,
        config=config,
        preset=preset,
        settings=settings,
        arguments=arguments,
    )
    if refine:
        method = refined(method, refine)
    uses_models = getattr(method.module, "USES_SURROGATES", True)
    check_config(method.config, surrogates=surrogates if uses_models else None)
    given, known = _read(images), None if clean is None else _read(clean)
    asked = surrogates if uses_models else ()
    models = load_surrogates(
        method,
        asked,
        device,
        dtype,
        sample_posterior=sample_posterior,
        low_memory=low_memory,
        graphs=graphs,
    )
    where = models[0].device if models else torch.device("cpu")
    deltas = run_protection(
        method,
        [as_loaded(p.pixels).to(where) for p in given.sorted],
        models,
        clean=[as_loaded(p.pixels).to(where) for p in known.sorted] if known else None,
        rng=protection_rng(seed, [s.key for s in (given, known) if s]),
        state=RunState(None, method.name, progress),
    )
    if config is not None or isinstance(protection, specs.Method):
        _warn(paper_note(method, surrogates))
    pairs = zip(given.sorted, deltas, strict=True)
    return given.back([add_within(method, p.pixels, delta) for p, delta in pairs])


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
    given = _read(images)
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
    given = _read(images)
    pictures = [as_float(p.pixels) for p in given.pictures]
    clean = None if reference is None else [as_float(p.pixels) for p in _read(reference).pictures]
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


@dataclass(frozen=True, eq=False)
class _Picture:
    """One picture.

    Attributes:
        name: what it is called in sentences.
        pixels: 3 x H x W, uint8, on the CPU.
        alpha: H x W, uint8, or None.
        back: pixels, 3 x H x W, uint8, -> a picture of the kind that was given.
    """

    name: str
    pixels: Tensor
    alpha: Tensor | None
    back: Callable[[Tensor], Any]

    @property
    def photo(self) -> Photo:
        """The picture as if it had been a file's."""
        planes = self.pixels if self.alpha is None else torch.cat([self.pixels, self.alpha[None]])
        digest = digest_of(np.ascontiguousarray(planes.numpy()))
        return Photo(Path(self.name), self.pixels, self.alpha, None, None, None, None, digest)


@dataclass(frozen=True, eq=False)
class _Pictures:
    """The pictures that were given.

    Attributes:
        pictures: in the order in which they were given.
        single: whether it was one, not a batch or a list.
        joined: what makes a batch or a list of them again.
    """

    pictures: Sequence[_Picture]
    single: bool
    joined: Callable[[list[Any]], Any]
    order: tuple[int, ...]
    """their numbers in the order of their contents, in which photo sets are taken"""
    key: str

    @property
    def sorted(self) -> list[_Picture]:
        """The pictures in the order of their contents."""
        return [self.pictures[i] for i in self.order]

    def back(self, pixels: Sequence[Tensor]) -> Any:
        """Return pixels, in the order of `sorted`, as what was given."""
        placed = dict(zip(self.order, pixels, strict=True))
        return self.joined([p.back(placed[i]) for i, p in enumerate(self.pictures)])


def _read(images: Any) -> _Pictures:
    """Read what was given, whatever it is.

    Raises:
        UserError: one sentence a picture that is none.
    """
    batch = isinstance(images, np.ndarray | Tensor) and images.ndim == 4
    single = isinstance(images, Image.Image | np.ndarray | Tensor) and not batch
    if not (batch or single or isinstance(images, list | tuple)):
        raise UserError(
            f"Pictures are given as a {type(images).__name__}. Allowed are Pillow images, numpy "
            "arrays (H x W x 3), torch tensors (3 x H x W), and lists of them; for files there "
            "are protect, purify and score."
        )
    whole: Any = images
    listed: list[Any] = [whole] if single else list(whole)
    if not listed:
        raise UserError("No picture was given; give one or more.")
    pictures, faults = [], []
    for i, image in enumerate(listed):
        try:
            pictures.append(_picture("The picture" if single else f"Picture {i}", image))
        except UserError as error:
            faults += error.sentences
    if faults:
        raise UserError(*faults)
    digests = [p.photo.digest for p in pictures]
    order = tuple(sorted(range(len(digests)), key=lambda i: digests[i]))
    key = Source((), tuple(sorted(digests))).key
    joined: Callable[[list[Any]], Any] = list
    if single:
        joined = _first
    elif batch:
        joined = torch.stack if isinstance(images, Tensor) else np.stack
    return _Pictures(pictures, single, joined, order, key)


def _first(images: list[Any]) -> Any:
    """Return the first of a list."""
    return images[0]


def _picture(name: str, image: Any) -> _Picture:
    """Read one picture.

    Raises:
        UserError: it is none.
    """
    if isinstance(image, Image.Image):
        found = _from_pillow(name, image)
    elif isinstance(image, np.ndarray | Tensor):
        found = _from_array(name, image)
    else:
        raise UserError(
            f"{name} is a {type(image).__name__}; allowed are Pillow images, numpy arrays and "
            "torch tensors."
        )
    height, width = found.pixels.shape[1:]
    if min(height, width) < MIN_SIDE:
        raise UserError(
            f"{name} is {width} x {height} pixels where each side needs at least {MIN_SIDE}; "
            "use a larger one."
        )
    return found


def _from_pillow(name: str, image: Image.Image) -> _Picture:
    """Read a Pillow image; what it becomes keeps its transparency, profile and metadata."""
    allowed = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode != allowed:
        raise UserError(
            f"{name} has the mode {image.mode}; allowed are RGB and RGBA. "
            f'Give its .convert("{allowed}").'
        )
    planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    alpha = planes[3] if allowed == "RGBA" else None

    def back(pixels: Tensor) -> Image.Image:
        whole = pixels if alpha is None else torch.cat([pixels, alpha[None]])
        made = Image.fromarray(whole.permute(1, 2, 0).contiguous().numpy())
        made.info = dict(image.info)
        return made

    return _Picture(name, planes[:3], alpha, back)


def _from_array(name: str, image: np.ndarray | Tensor) -> _Picture:
    """Read an array, H x W x 3, or a tensor, 3 x H x W."""
    array = isinstance(image, np.ndarray)
    values = torch.from_numpy(_native(name, image)) if isinstance(image, np.ndarray) else image
    values = values.detach()
    layout, colours = ("H x W x 3", 2) if array else ("3 x H x W", 0)
    if values.ndim != 3 or values.shape[colours] != 3:
        shape = " x ".join(map(str, values.shape)) or "a single number"
        raise UserError(f"{name} is {shape}; allowed is {layout}.")
    if values.dtype not in (torch.uint8, *FLOATS):
        raise UserError(
            f"{name} is of {str(values.dtype).removeprefix('torch.')}; allowed are uint8 and "
            "floats of 16, 32 or 64 bits in [0, 1]."
        )
    floats = values.dtype.is_floating_point
    if floats and not ((values >= 0) & (values <= 1)).all():
        low, high = values.min().item(), values.max().item()
        raise UserError(
            f"{name} has values from {low:g} to {high:g}; allowed are floats in [0, 1]."
        )

    def back(pixels: Tensor) -> Any:
        planes = pixels.permute(1, 2, 0).contiguous() if array else pixels
        made = (planes.double() / 255).to(values.dtype) if floats else planes
        return made.numpy() if array else made.to(values.device)

    pixels = to_bytes(values.cpu().double()) if floats else values.cpu()
    return _Picture(name, pixels.permute(2, 0, 1) if array else pixels, None, back)


def _native(name: str, image: np.ndarray) -> np.ndarray:
    """Return an array that torch can hold: a copy, in the machine's order of bytes.

    Raises:
        UserError: it holds no numbers of a kind that pictures have.
    """
    if image.dtype.kind not in "fui" or image.dtype.itemsize > 8:
        raise UserError(
            f"{name} is of {image.dtype}; allowed are uint8 and floats of 16, 32 or 64 bits in "
            "[0, 1]."
        )
    return np.array(image, dtype=image.dtype.newbyteorder("="), order="C")
