"""The measured tables of the documents: every protection on `tiny`, and the red team.

`data` holds the folder `identities` (a folder for each person, with set_A and set_B in it) and the
folder `subjects` (a folder of photos for each thing). All of it takes some days of one core; a
table at a time is what --table is for.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from cloakwork.benchmark.grids import THINGS, Grid, Table, people, things, threat_model
from cloakwork.errors import UserError
from cloakwork.evaluation.design import Subject, ThreatModel

EVERY = (
    "pid",
    "fsmg",
    "simac",
    "ace",
    "metacloak",
    "caat",
    "photoguard",
    "aspl",
    "advdm",
    "mist",
    "sdst",
    "sds",
    "glaze",
    "photoguard:tiny-diffusion",
    "advdm:tiny-minus",
    "sds:tiny-plus",
)
# MetaCloak's released loop at a tenth of its schedule (and with four pictures of the person and
# four of the class a step, where the release has one and one): surrogates that stay as they are;
# that move as little as the released ones do, by their rate and their bf16 weights; that learn at
# the rate of the plain attacker. Protections are texts here and not `Method`s, since the text is
# also the label that results know a protection by.
FROZEN = tuple(
    f"metacloak:tiny-release:training.batch=4,training.{rate}"
    for rate in ("lr=0", "lr=5e-7,training.weights=bfloat16", "lr=3e-4")
)
# the release's whole schedule, a picture of the person and one of the class a step
RELEASED = (
    "metacloak:tiny-release:interval=200,surrogate_steps=1000,class_images=200,"
    "training.lr=5e-7,training.weights=bfloat16"
)
# half the class pictures of the laptop presets, in fewer steps: a fifth of their CPU seconds
FEWER_CLASS = "class_images=8,class_sampling_steps=10"
OURS = "cloakwork"
FOLLOWING = ("faint", "normal", "strong")
BEST = (OURS, "pid", "simac", "fsmg")
# looks against effect: budgets of every pixel, and budgets that follow the photo
LOUD = (*(f"budget={b}" for b in (4, 8, 11, 16)), *(f"budget=16,strength={s}" for s in FOLLOWING))
# what DiffShortcut (arXiv 2406.18944) attacks, and ours; an ensemble for its E-ASPL
ATTACKED = ("fsmg", "aspl", "aspl@tiny+tiny-b", "metacloak", "advdm", "photoguard", "glaze", OURS)
# the red team's photos are as large as the model's own pictures, as in the papers, whose purifiers
# see 512 of 512 px: what is done to larger ones mostly goes when they are made small for the
# attacker, purification and perturbation alike
SIDE = 128
DIFFUSION = "gridpure"  # the purifier that stands for those by diffusion
MAIN = ("", "jpeg", "codesr", DIFFUSION)  # what every protection is tried against
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
ABLATION = ("M=1", "M=8", "K=0", "K=3", "transform.flip=0,transform.blur=0")
SUBJECTS = ("backpack", "cat", "clock", "dog", "rc_car", "robot_toy")
EDITS = ("a photo of a person", "a photo of a sunflower")

# the red team's attacker: of clean photos .86 of its pictures match (six people, 16 pictures each;
# the plain one's .91), for 33 CPU seconds in place of 55; with half its learning rate .73
LEAN = "dreambooth:tiny:steps=150,lr=0.001,final_lr=0.05"
CDL = ("train", "suffix", "negative")

PLAIN = threat_model("plain")
TRANSFORMED = threat_model("with transformations", "dreambooth:transformed")
JPEG = threat_model("JPEG 75", "dreambooth:jpeg")
THREE = (PLAIN, TRANSFORMED, JPEG)
SDEDITS = tuple(
    threat_model(f"SDEdit {s:g}", f"sdedit:tiny:strengths={s}", prompts=EDITS)
    for s in (0.1, 0.2, 0.3)
)
EDITING = (*SDEDITS, threat_model("inpainting", "inpaint:tiny:strengths=1.0", prompts=EDITS))
EDITED = ("lpips", "ssim")  # of edits, each beside that of the clean photo


def tiny(data: Path | None) -> Grid:
    """Build the grid.

    Raises:
        UserError: no data, or not as described above.
    """
    if data is None:
        raise UserError(
            "The recipe 'tiny' needs photo sets. "
            "Name a folder with --data that holds the folders identities and subjects."
        )
    return Grid(
        "tiny",
        "Protections and purifiers on tiny, a model of a few million weights at 128 x 128 pixels. "
        "None of it says anything about Stable Diffusion.",
        (*_protections(data), *_red_team(data)),
    )


def _protections(data: Path) -> tuple[Table, ...]:
    """Return the tables of protections."""
    everybody = people(data / "identities")
    few = everybody[:3]
    mismatch = (
        PLAIN,
        threat_model("other victim", victim="tiny-b"),
        threat_model("other token", "dreambooth:token=t@t"),
        threat_model("other prompt", "dreambooth:instance_prompt=a dslr portrait of sks person"),
        threat_model("half clean", clean_share=0.5),
        threat_model("three quarters clean", clean_share=0.75),
        threat_model("service", "lora:service", victim="tiny-b"),
    )
    threats = (threat_model("lean", LEAN), TRANSFORMED)
    others = (threat_model("LoRA", "lora"), threat_model("textual inversion", "textual_inversion"))
    return (
        Table("methods", (*EVERY, OURS), (TRANSFORMED,), everybody, rival=OURS),
        Table("first", ("photoguard", "aspl"), THREE[:2], everybody, seeds=2),
        Table("best", BEST, THREE, everybody, seeds=2, rival=OURS),
        Table("JPEG coefficients", ("dct_shield",), THREE, everybody, seeds=2),
        # less arithmetic, the same effect? Each beside its own in float32
        *(
            Table(
                f"{name} in bfloat16",
                (name, f"{name}:tiny-bf16"),
                (TRANSFORMED,),
                everybody,
                rival=name,
            )
            for name in ("pid", "aspl", OURS)
        ),
        # a moment against seconds; in float32, for processors without bfloat16
        Table(
            "one pass",
            ("learned", "pid"),
            (threat_model("lean", LEAN, dtype="float32"),),
            everybody,
            rival="pid",
        ),
        Table("small budget", BEST, THREE, everybody, budget=6.4, rival=OURS),
        Table("mismatch", ("aspl", OURS), mismatch, everybody, rival=OURS),
        Table("edits", (*EVERY, OURS), EDITING, everybody, EDITED),
        Table("other attackers", BEST, others, everybody, rival=OURS),
        Table("things", BEST, (PLAIN,), things(data / "subjects", SUBJECTS), THINGS, rival=OURS),
        # at 11 so many PGD steps leave a lean attacker nothing, whatever the surrogates do, and at
        # 4 everything
        Table("frozen", FROZEN, threats, few, budget=6.4, dtype="bfloat16", rival=FROZEN[0]),
        Table(
            "whole schedule",
            (RELEASED, FROZEN[1]),
            threats,
            everybody[:1],
            budget=6.4,
            dtype="bfloat16",
            rival=FROZEN[1],
        ),
        Table("many steps", FROZEN[:1], THREE, everybody, seeds=2),
        Table("learning", (FROZEN[0], FROZEN[2]), (PLAIN,), everybody, seeds=2, rival=FROZEN[0]),
        Table(
            "ablation",
            ("metacloak", *(f"metacloak:tiny:{change}" for change in ABLATION)),
            (TRANSFORMED,),
            few,
            dtype="bfloat16",
            rival="metacloak",
        ),
        *(
            Table(
                f"class pictures of {name}",
                (name, f"{name}:tiny:{FEWER_CLASS}"),
                threats[:1],
                everybody,
                dtype="bfloat16",
                rival=name,
            )
            for name in ("aspl", "metacloak")
        ),
        *(
            Table(
                f"strengths of {name}",
                tuple(f"{name}:tiny:{loud}" for loud in LOUD),
                threats,
                everybody,
                budget=None,
                dtype="bfloat16",
            )
            for name in ("pid", "simac", OURS, "dct_shield")
        ),
        *(
            Table(f"radius {r}", ("metacloak",), (TRANSFORMED,), few, budget=r, dtype="bfloat16")
            for r in (4, 8, 16)
        ),
    )


def _red_team(data: Path) -> tuple[Table, ...]:
    """Return the tables of purifiers and of contrastive decoupling learning."""
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
            ("pid:adaptive", "pid"),
            (_purified("codesr", dtype="float32"),),
            everybody,
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
