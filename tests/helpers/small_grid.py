"""A small graph of quick steps, for whatever runs steps."""

from __future__ import annotations

from pathlib import Path

from cloakwork.evaluation.sources import source
from cloakwork.evaluation.steps import Step
from cloakwork.files.parts import PART
from cloakwork.metrics import lpips, psnr
from cloakwork.protections import noise
from cloakwork.purifiers import blur, jpeg, tvm
from cloakwork.specs import Method


def grid(files: list[Path], budgets: tuple[int, ...] = (4, 8)) -> list[Step]:
    """Random noise of two budgets, three purifiers after it, two scores of each: 20 steps of
    milliseconds on one photo set."""
    clean, targets = source(files), []
    for budget in budgets:
        protected = Step(Method("protections", "noise", noise.Config(budget=budget)), (clean,))
        for name, config in (
            ("jpeg", jpeg.Config()),
            ("blur", blur.Config()),
            ("tvm", tvm.Config(steps=20)),
        ):
            pure = Step(Method("purifiers", name, config), (protected,))
            targets += [
                Step(Method("metrics", "psnr", psnr.Config()), (pure, clean)),
                Step(Method("metrics", "lpips", lpips.Config()), (pure, clean)),
            ]
    return targets


def _becomes(name: str) -> str:
    """The name of the file that a claim's part was to become; of another file its own."""
    part = PART.fullmatch(name)
    return part["name"] if part and part["name"].endswith(".claim") else name


def contents(store: Path) -> dict[str, bytes]:
    """All that lies in the store but records and claims; a killed process may leave a part of one,
    which `tidy` removes."""
    found = (
        p
        for kind in ("protect", "purify", "attack", "score")
        for p in (store / kind).rglob("*")
        if not _becomes(p.name).endswith((".record.json", ".claim"))
    )
    return {f"{p.parent.name}/{p.name}": p.read_bytes() for p in found}
