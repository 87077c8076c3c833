"""The tables of the recipe `tiny` on purifiers, on contrastive decoupling learning, and on what a
person may choose.

The red team's photos are as large as the model's own pictures, as in the papers, whose purifiers
see 512 of 512 px. What is done to larger ones mostly goes when they are made small for the
attacker, purification and perturbation alike.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from cloakwork.benchmark.grids import Table, people, threat_model
from cloakwork.evaluation.design import Subject, ThreatModel

OURS = "cloakwork"
FOLLOWING = ("faint", "normal", "strong")
# what a person may choose among, from slow and strong to a moment
OFFERED = (OURS, "pid:lasting", "pid", "pid:tiny:budget=8", "pid:refined", "learned")
# of these, what takes a minute or less and has the usual budget
QUICK = tuple(name for name in OFFERED[1:] if "budget" not in name)
# the strengths of the default, as `protect` has them, and the same everywhere
STRENGTHS = (
    "pid",
    *(f"pid:tiny:{how}" for how in ("budget=8", *(f"strength={s}" for s in FOLLOWING))),
)
# what DiffShortcut (arXiv 2406.18944) attacks, and ours; an ensemble for its E-ASPL
ATTACKED = ("fsmg", "aspl", "aspl@tiny+tiny-b", "metacloak", "advdm", "photoguard", "glaze", OURS)
SIDE = 128
DIFFUSION = "gridpure"  # the purifier that stands for those by diffusion
MAIN = ("", "jpeg", "codesr", DIFFUSION)  # what every protection is tried against
# what the protections that a person may choose are tried against
HEADLINE_PURIFIERS = (
    "",
    "jpeg",
    "jpeg_and_resize",
    "blur",
    DIFFUSION,
    "codesr",
    "impress",
    "latent_diffpure:img2img",
    "learned",
)
PURIFIERS = (
    "jpeg",
    "resize",
    "blur",
    "noise",
    "median",
    "quantise",
    "tvm",
    "bilateral_guided",
    "jpeg+resize",
    "codesr",
    "codesr:noisy",
    "diffpure",
    "gridpure",
    "latent_diffpure",
    "impress",
)
# one of GrIDPure's rounds stands for all five, which would take five times as long
KNOWN = ("jpeg", "tvm", "codesr", f"{DIFFUSION}:iterations=1")
# through a network in place of Real-ESRGAN that was trained for it: as the preset `adaptive`, and
# by a protector who knows what the attacker uses
THROUGH = ('"none jpeg blur codesr:stand_in=network"', "codesr:stand_in=network")
# the red team's attacker: of clean photos .86 of its pictures match (six people, 16 pictures each;
# the plain one's .91), for 33 CPU seconds in place of 55; with half its learning rate .73
LEAN = "dreambooth:tiny:steps=150,lr=0.001,final_lr=0.05"
CDL = ("train", "suffix", "negative")


def red_team(data: Path) -> tuple[Table, ...]:
    """Return the tables of what a person may choose, of purifiers and of CDL."""
    everybody = people(data / "identities", SIDE)
    few = everybody[:3]
    others = (p for p in PURIFIERS if p not in MAIN)
    switches = tuple(
        threat_model("+".join(on) or "no CDL", _lean(on))
        for r in range(4)
        for on in combinations(CDL, r)
    )
    # tiny has learned from noisy pictures that say so, and the noise's usual name has such words in
    # it
    unknown = threat_model(
        "all three, no word of the noise's name known", _lean(CDL) + ",cdl.noise=bhj qvx"
    )
    adaptive = (
        *(_purified(p) for p in ("", "jpeg", "tvm", "codesr", DIFFUSION)),
        *(_purified(p, cdl=True) for p in ("", "codesr")),
    )
    return (
        # what looking through purifiers buys against one that was not among them (its stand-in
        # was); in float32, for processors without bfloat16
        Table(
            "looking through",
            ("pid:adaptive", *(f"pid:adaptive:purifiers={words}" for words in THROUGH), "pid"),
            (_purified("codesr", dtype="float32"),),
            everybody,
            rival="pid",
        ),
        # photos of the model's own size: on larger ones a pattern for so small a model is coarse
        Table("strengths", STRENGTHS, (_purified("", dtype="float32"),), everybody, budget=None),
        # those that take seconds, as they are and after the firmest purifier; then all of them
        # after every one
        Table(
            "choices",
            OFFERED[1:],
            tuple(_purified(p, dtype="float32") for p in ("", "codesr")),
            everybody,
            budget=None,
            rival="pid",
        ),
        *(
            Table(
                f"choices after {after}",
                QUICK,
                (_purified(purifier, dtype="float32"),),
                everybody,
                rival="pid",
            )
            for after, purifier in {
                "GrIDPure": DIFFUSION,
                "a network": "learned",
                "JPEG and a resize": "jpeg_and_resize",
            }.items()
        ),
        # the network that has learned from the very protection
        Table(
            "made to last after its own network",
            ("pid:lasting",),
            (_purified("learned:weights=lasting", dtype="float32"),),
            everybody,
        ),
        Table(
            "headline",
            OFFERED,
            tuple(_purified(p, dtype="float32") for p in HEADLINE_PURIFIERS),
            everybody,
            budget=None,
            rival="pid",
        ),
        Table("purifiers", ATTACKED, with_and_without_cdl(*MAIN), everybody, dtype="bfloat16"),
        Table(
            "other purifiers",
            ("aspl",),
            with_and_without_cdl("", *others),
            everybody,
            dtype="bfloat16",
        ),
        Table("switches", ("aspl",), (*switches, unknown), everybody, dtype="bfloat16"),
        Table(
            "adaptive",
            ("advdm", "adaptive", OURS, f"{OURS}:adaptive"),
            adaptive,
            few,
            budget=16,
            dtype="bfloat16",
        ),
        *(_adaptive_to(known, adaptive, few) for known in KNOWN),
    )


def with_and_without_cdl(*purifiers: str) -> tuple[ThreatModel, ...]:
    """Return threat models without contrastive decoupling learning and with it, for each purifier.

    Args:
        purifiers: chains, joined by +; "" for none.
    """
    return tuple(_purified(p, cdl=cdl) for p in purifiers for cdl in (False, True))


def _purified(purifiers: str, *, cdl: bool = False, dtype: str = "bfloat16") -> ThreatModel:
    """Return the lean attacker behind purifiers, with or without CDL."""
    label = ", ".join([purifiers] * bool(purifiers) + ["CDL"] * cdl) or "lean"
    attacker = _lean(CDL if cdl else ())
    return threat_model(label, attacker, purifiers=purifiers, dtype=dtype)


def _adaptive_to(
    known: str, threats: tuple[ThreatModel, ...], subjects: tuple[Subject, ...]
) -> Table:
    """Return the table of a protection that knows one purifier, against attackers who use it."""
    name = known.partition(":")[0]
    users = tuple(t for t in threats if any(used.name == name for used in t.purifiers))
    return Table(
        f"adaptive to {name}",
        ("advdm", f"adaptive:tiny:purifiers={known}"),
        users,
        subjects,
        budget=16,
        dtype="bfloat16",
    )


def _lean(switches: tuple[str, ...]) -> str:
    """Return the lean attacker's spec with some parts of CDL switched on."""
    return ",".join([LEAN, *(f"cdl.{s}=True" for s in switches)])
