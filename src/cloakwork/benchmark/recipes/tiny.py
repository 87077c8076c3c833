"""The measured tables of the documents: every protection on `tiny`, and the red team.

`data` holds the folder `identities` (a folder for each person, with set_A and set_B in it) and the
folder `subjects` (a folder of photos for each thing). All of it takes some days of one core; a
table at a time is what --table is for.
"""

from __future__ import annotations

from pathlib import Path

from cloakwork.benchmark.grids import FACES, THINGS, Grid, Table, people, things, threat_model
from cloakwork.benchmark.recipes._architectures import TRANSFORMER, architectures
from cloakwork.benchmark.recipes._red_team import FOLLOWING, LEAN, OURS, red_team
from cloakwork.errors import UserError
from cloakwork.models import hub

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
BEST = (OURS, "pid", "simac", "fsmg")
# looks against effect: budgets of every pixel, and budgets that follow the photo
LOUD = (*(f"budget={b}" for b in (4, 8, 11, 16)), *(f"budget=16,strength={s}" for s in FOLLOWING))
ABLATION = ("M=1", "M=8", "K=0", "K=3", "transform.flip=0,transform.blur=0")
SUBJECTS = ("backpack", "cat", "clock", "dog", "rc_car", "robot_toy")
EDITS = ("a photo of a person", "a photo of a sunflower")

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
    tables = (*_protections(data), *red_team(data))
    about = (
        "Protections and purifiers on tiny, a model of a few million weights at 128 x 128 pixels. "
        "None of it says anything about Stable Diffusion."
    )
    if hub.apart(TRANSFORMER):
        tables += architectures(people(data / "identities"))
    else:
        about += (
            f" The tables of two architectures are left out: {TRANSFORMER} is not on this machine."
        )
    return Grid("tiny", about, tables)


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
        # the default, against attackers who do more than it looks through, and less; without
        # clip_t, which the kept scores of its controls lack
        Table("made to last", ("pid:lasting",), THREE, everybody, FACES[:3]),
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
            ("learned", "pid", "pid:lasting"),
            tuple(
                threat_model(label, LEAN, purifiers=chain, dtype="float32")
                for label, chain in (("lean", ""), ("jpeg_and_resize", "jpeg_and_resize"))
            ),
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
