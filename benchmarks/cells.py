"""What the audit grid holds: cells of protections and thieves, and what each thief does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

FACES = ("match", "face_missing", "identity", "clip_t")
THINGS = ("clip_i", "clip_t")


@dataclass(frozen=True)
class Cell:
    """Protections and thieves that stand in one table."""

    protections: tuple[str, ...]
    """written as after `cloakwork protect --protection`, with a preset behind a colon, and surrogates other than tiny behind an @
    (joined by +); none and noise are arms of every audit"""
    thieves: tuple[str, ...]
    """labels of THIEVES"""
    seeds: int = 1
    budget: float = 11
    """largest change of a pixel, 1/255"""
    things: tuple[str, ...] = ()
    """subjects that are no people; empty: people"""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What pictures are scored by, the one that tables are sorted by first."""
        return THINGS if self.things else FACES


EVERY = (
    "pid", "fsmg", "simac", "ace", "metacloak", "caat", "photoguard", "aspl", "advdm", "mist", "sdst", "sds", "glaze",
    "photoguard:tiny-diffusion", "advdm:tiny-minus", "sds:tiny-plus",
)  # fmt: skip
# MetaCloak's released loop at a tenth of its schedule, with surrogates that stay as they are, move as little as the released ones
# do, and learn as the thief does
FROZEN = tuple(
    f"metacloak:tiny-release:training.batch=4,training.{how}" for how in ("lr=0", "lr=5e-7,training.weights=bfloat16", "lr=3e-4")
)
OURS = "cloakwork"
BEST = (OURS, "pid", "simac", "fsmg")
THREE = ("plain", "with transformations", "JPEG 75")
# what DiffShortcut (arXiv 2406.18944) attacks, and ours; an ensemble for its E-ASPL
ATTACKED = ("fsmg", "aspl", "aspl@tiny+tiny-b", "metacloak", "advdm", "photoguard", "glaze", OURS)
DIFFUSION = "gridpure"  # the purifier that stands for those by diffusion
PURIFIERS = (
    "jpeg", "resize", "blur", "noise", "median", "quantise", "tvm", "bilateral_guided", "jpeg+resize", "codesr",
    "codesr:noisy", "diffpure", "gridpure", "latent_diffpure", "impress",
)  # fmt: skip
ADAPTIVE = ("adaptive", *(f"adaptive:tiny:purifiers={p}" for p in ("jpeg", "tvm", "codesr", DIFFUSION)), f"{OURS}:adaptive")


# the eight settings of contrastive decoupling learning's three switches
SWITCHES = {
    "+".join(on) or "no CDL": ":".join(["dreambooth:tiny", ",".join(f"cdl.{switch}=True" for switch in on)]).rstrip(":")
    for r in range(4) for on in combinations(("train", "suffix", "negative"), r)
}  # fmt: skip


def with_and_without_cdl(*purifiers: str) -> tuple[str, ...]:
    """Labels of thieves who use each purifier ("": none)."""
    return tuple(label for p in purifiers for label in (p or "plain", f"{p}, CDL" if p else "CDL"))


CELLS = {
    "methods": Cell((*EVERY, OURS), ("with transformations",)),
    "first": Cell(("photoguard", "aspl"), ("plain", "with transformations"), seeds=2),
    "best": Cell(BEST, THREE, seeds=2),
    "small budget": Cell(BEST, THREE, budget=6.4),
    "mismatch": Cell(
        ("aspl", OURS), ("other victim", "other token", "other prompt", "half clean", "three quarters clean", "service")
    ),
    "other attackers": Cell(BEST, ("LoRA", "textual inversion")),
    "things": Cell(BEST, ("plain",), things=("backpack", "cat", "clock", "dog", "rc_car", "robot_toy")),
    "frozen": Cell(FROZEN, ("plain", "with transformations")),
    "ablation": Cell(
        (
            "metacloak",
            *(f"metacloak:tiny:{change}" for change in ("M=1", "M=8", "K=0", "K=3", "transform.flip=0,transform.blur=0")),
        ),
        ("with transformations",),
    ),
    **{f"radius {r}": Cell(("metacloak",), ("with transformations",), budget=r) for r in (4, 8, 16)},
    # the red team; tables by red_team.py
    "purifiers": Cell(ATTACKED, with_and_without_cdl("", "jpeg", "codesr", DIFFUSION)),
    "every purifier": Cell(("aspl",), with_and_without_cdl("", *PURIFIERS)),
    "switches": Cell(("aspl",), tuple(SWITCHES)),
    "adaptive": Cell(("advdm", OURS, *ADAPTIVE), with_and_without_cdl("", "jpeg", "tvm", "codesr", DIFFUSION), budget=16),
}


@dataclass(frozen=True)
class Habit:
    """What a thief does."""

    attacker: str = "dreambooth"
    """with its settings"""
    victim: str = "tiny"
    clean_share: float = 0
    """of the photos that it got hold of unprotected"""
    purifiers: str = ""


THIEVES = {
    "plain": Habit(),
    "with transformations": Habit("dreambooth:transformed"),
    "JPEG 75": Habit("dreambooth:jpeg"),
    "LoRA": Habit("lora"),
    "textual inversion": Habit("textual_inversion"),
    "other victim": Habit(victim="tiny-b"),
    "other token": Habit("dreambooth:token=t@t"),
    "other prompt": Habit("dreambooth:instance_prompt=a dslr portrait of sks person"),
    "half clean": Habit(clean_share=0.5),
    "three quarters clean": Habit(clean_share=0.75),
    "service": Habit("lora:service", "tiny-b"),
    "CDL": Habit("dreambooth:cdl"),
    **{p: Habit(purifiers=p) for p in PURIFIERS},
    **{f"{p}, CDL": Habit("dreambooth:cdl", purifiers=p) for p in PURIFIERS},
    **{label: Habit(word) for label, word in SWITCHES.items()},
}
