"""Methods of somebody's own, quick and plain, for grids in tests: a thief who copies, a metric of
brightness, and faulty ones."""

from __future__ import annotations

import textwrap
from pathlib import Path

HEAD = '''
"""{help}."""
from dataclasses import dataclass
import torch
import torch.nn.functional as F
from cloakwork.perturbation import pgd
VERSION = 1
@dataclass(frozen=True)
class Config:
    {fields}
'''
METRIC = """SCOPE, BETTER, RANGE, UNIT, REFERENCE = 'image', 'higher', (0, 1), 'share', 'subject'
def score(images, reference, prompts, cfg):
"""
QUIET = "USES_SURROGATES = False\ndef protect(photos, surrogates, cfg, *, clean, rng, state):\n"
PURE = "def purify(photos, ldm, cfg, *, rng):\n"
METHODS = {
    # thieves: pictures are the photos, made small
    "copier": (
        "label: str = ''",
        "def attack(photos, victim, cfg, prompts, *, masks=None, rng, state):\n"
        "    return torch.cat([F.interpolate(p[None], (32, 32)) for p in photos])",
    ),
    "gambler": (
        "label: str = ''",
        "def attack(photos, victim, cfg, prompts, *, masks=None, rng, state):\n"
        "    return torch.rand(4, 3, 32, 32)",
    ),
    "broken": (
        "label: str = ''",
        "def attack(photos, victim, cfg, prompts, *, masks=None, rng, state):\n"
        "    raise RuntimeError('The kettle is empty.')",
    ),
    # protections
    "darker": (
        "budget: float = 8",
        QUIET + "    return [(p - cfg.budget / 255).clamp(0, 1) for p in photos]",
    ),
    "idle": ("budget: float = 8", QUIET + "    return photos"),
    "flat": (
        "budget: float = 8",
        QUIET + "    zero = lambda x, which: (0.0, [0 * p for p in x])\n"
        "    return pgd.ascend(photos, zero, budget=8, step=None, steps=3, rng=rng, state=state, random_start=True)",
    ),
    "nan": (
        "budget: float = 8",
        QUIET + "    bad = lambda x, which: (0.0, [p * float('nan') for p in x])\n"
        "    return pgd.ascend(photos, bad, budget=cfg.budget, step=None, steps=3, rng=rng, state=state)",
    ),
    # purifiers
    "brighten": ("by: float = 0.1", PURE + "    return [(p + cfg.by).clamp(0, 1) for p in photos]"),
    "dim": ("by: float = 0.1", PURE + "    return [(p - cfg.by).clamp(0, 1) for p in photos]"),
    # metrics
    "brightness": (
        "label: str = ''",
        METRIC + "    return torch.stack([i.mean() for i in images])",
    ),
    "blind": ("label: str = ''", METRIC + "    return torch.full((len(images),), float('nan'))"),
}


def build(folder: Path) -> None:
    """Writes the package `own_lab` into a folder."""
    place = folder / "own_lab"
    place.mkdir()
    (place / "__init__.py").write_text("")
    for name, (fields, body) in METHODS.items():
        (place / f"{name}.py").write_text(
            textwrap.dedent(HEAD.format(help=name, fields=fields)) + body + "\n"
        )
