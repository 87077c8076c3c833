"""One metric of some pictures: numbers, or NaN and the reason why there are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from cloakwork import registry
from cloakwork.errors import Unscored, UserError
from cloakwork.types import Images, Photos


@dataclass(frozen=True)
class Measurement:
    """What a metric measured; plain data, fit for a record.

    Attributes:
        name: the metric.
        values: one a picture, or a single one for metrics of a set; NaN: unscored.
        reason: why values are NaN and what to do about it, one sentence; None when every one is a
            number.
        instrument: the network that measured and its weights, such as "CLIP tiny (weights
            0123456789ab)"; "" for none.
        better: "higher" or "lower", for the pictures themselves; "" where neither is.
        unit: of the values; "" for none.
    """

    name: str
    values: list[float]
    reason: str | None
    instrument: str
    better: str
    unit: str

    @property
    def mean(self) -> float:
        """Average the values that are numbers; NaN when there is none."""
        scored = [v for v in self.values if not math.isnan(v)]
        return sum(scored) / len(scored) if scored else math.nan


@torch.no_grad()
def measure(
    name: str,
    images: Images | Photos,
    reference: Photos | None = None,
    prompts: Sequence[str] | None = None,
    cfg: Any = None,
) -> Measurement:
    """Score pictures by one metric.

    What cannot be scored is NaN and says why; nothing is ever 0 for lack of an instrument.

    Args:
        name: a metric, or an importable module such as "my_lab.mine".
        images: n pictures, each 3 x H x W in [0, 1].
        reference: the originals in the same order for metrics whose METRIC.reference is
            "originals"; any clean photos of the subject where it is "subject"; else ignored.
        prompts: what each of the n pictures was asked for, for metrics of text.
        cfg: the metric's Config; None takes its defaults.

    Raises:
        UserError: unknown metric; originals that do not pair up with the pictures; prompts of
            another number; a metric that returns another number of scores.
    """
    module = registry.load("metrics", name)
    cfg = module.Config() if cfg is None else cfg
    pictures = [x.detach().float().cpu() for x in images]
    clean = [x.detach().float().cpu() for x in reference or []]
    texts = list(prompts) if prompts is not None else None
    _check_pairs(name, module, pictures, clean, texts)
    values, reason = _score(name, module, pictures, clean, texts, cfg)
    return Measurement(
        name, values, reason, metric_instrument(name, cfg), module.METRIC.better, module.METRIC.unit
    )


def metric_instrument(name: str, cfg: Any = None) -> str:
    """Name the network that a metric measures with and its weights.

    Returns:
        Such as "CLIP tiny (weights 0123456789ab)"; "" when the metric has none or they are not
        here.
    """
    module = registry.load("metrics", name)
    if not hasattr(module, "instrument"):
        return ""
    try:
        return module.instrument(module.Config() if cfg is None else cfg)
    except Unscored:
        return ""


def _score(
    name: str,
    module: ModuleType,
    pictures: Photos,
    clean: Photos,
    prompts: list[str] | None,
    cfg: Any,
) -> tuple[list[float], str | None]:
    """Return the values of a `Measurement`, and the reason why some are NaN."""
    count = len(pictures) if module.METRIC.scope == "image" else 1
    try:
        if not pictures:
            raise Unscored("There is no picture to score.")
        if module.METRIC.reference and not clean:
            paired = module.METRIC.reference == "originals"
            what = "the originals" if paired else "clean photos of the subject"
            raise Unscored(f"'{name}' compares with {what}, and none were given.")
        scores: Tensor = module.score(pictures, clean or None, prompts, cfg)
    except Unscored as why:
        return [math.nan] * count, why.reason
    if not isinstance(scores, Tensor) or scores.numel() != count:
        got = scores.numel() if isinstance(scores, Tensor) else f"a {type(scores).__name__}, not"
        raise UserError(
            f"The metric '{name}' returned {got} numbers for {len(pictures)} pictures. It must "
            f'return a tensor of {count}, since its METRIC.scope is "{module.METRIC.scope}".'
        )
    values = [float(v) for v in scores.reshape(-1)]
    missing = sum(math.isnan(v) for v in values)
    if not missing:
        return values, None
    why = getattr(module, "MISSING", "The metric gave no number.")
    return values, why if missing == count else f"{missing} of {count}: {why}"


def _check_pairs(
    name: str, module: ModuleType, pictures: Photos, clean: Photos, prompts: list[str] | None
) -> None:
    """Check that prompts, and originals where the metric needs them, are one a picture.

    Raises:
        UserError: they are more or fewer, or originals of another size.
    """
    if prompts is not None and len(prompts) != len(pictures):
        raise UserError(
            f"There are {len(pictures)} pictures and {len(prompts)} prompts; '{name}' needs one "
            "prompt a picture."
        )
    if module.METRIC.reference != "originals" or not clean:
        return
    if len(pictures) != len(clean):
        raise UserError(
            f"'{name}' needs one original a picture; there are {len(pictures)} pictures and "
            f"{len(clean)} originals."
        )
    for i, (a, b) in enumerate(zip(pictures, clean, strict=True)):
        if a.shape != b.shape:
            one, other = (f"{x.shape[-1]} x {x.shape[-2]}" for x in (a, b))
            raise UserError(
                f"Picture {i} is {one} and its original {other}; '{name}' needs the same size."
            )
