"""Methods whose surrogates learn: of Anti-DreamBooth, SimAC, MetaCloak, CAAT and Mist-v2."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter

from releases import ace as mist_v2
from releases import anti_dreambooth
from releases import caat as caat_release
from releases import metacloak as metacloak_release
from releases import simac as simac_release

from cloakwork.finetuning.training import Training
from cloakwork.protections import ace, aspl, caat, fsmg, metacloak, simac
from compared.sides import CLASSES, LEARN, LOOP, LR, PHOTOS, STEPS, TURNS, Case, short, stated

TAKEN = "the package clips to norm 1 as the release means to, and goes round all pictures"
FSMG = replace(
    fsmg.PRESETS["paper"],
    training=Training(lr=LR, batch=2),
    class_images=CLASSES,
    surrogate_steps=2,
)
GUIDED = {**LOOP, **LEARN, "budget": 6.4, "step": 0.64, "surrogate_steps": 2, "batch": 2}
LEARNERS = (
    Case(
        "fsmg",
        fsmg,
        short(FSMG, steps="steps"),
        "VinAIResearch/Anti-DreamBooth c97e891",
        (stated(anti_dreambooth.fsmg, **GUIDED),),
        sample=True,
    ),
    Case(
        "fsmg, targeted",
        fsmg,
        short(replace(FSMG, target="pattern"), steps="steps"),
        "VinAIResearch/Anti-DreamBooth c97e891",
        (stated(anti_dreambooth.fsmg, **GUIDED, target=attrgetter("target")),),
        sample=True,
    ),
    Case(
        "aspl",
        aspl,
        short(
            replace(aspl.PRESETS["paper"], lr=LR, class_images=CLASSES),
            outer="turns",
            clean_steps="turns",
            pgd_steps="turns",
            adv_steps="turns",
        ),
        "VinAIResearch/Anti-DreamBooth c97e891",
        tuple(
            stated(
                anti_dreambooth.aspl,
                TAKEN * as_released,
                **LEARN,
                budget=6.4,
                step=0.64,
                outer=TURNS,
                pgd_steps=TURNS,
                train_steps=TURNS,
                as_released=as_released,
            )
            for as_released in (False, True)
        ),
        sample=True,
    ),
    Case(
        "simac",
        simac,
        short(
            replace(simac.PRESETS["paper"], lr=LR, class_images=CLASSES, outer=1),
            steps="turns",
            clean_steps="turns",
            pgd_steps="steps",
            adv_steps="turns",
        ),
        "somuchtome/SimAC 2de1aa8",
        tuple(
            stated(
                simac_release.simac,
                "in the package the features' distance has a gradient, and is that to the original"
                * as_released,
                **LEARN,
                budget=8,
                step=0.64,
                rounds=TURNS,
                pgd_steps=STEPS,
                train_steps=TURNS,
                as_released=as_released,
            )
            for as_released in (False, True)
        ),
        photos=1,
        sample=True,
    ),
    Case(
        "metacloak",
        metacloak,
        short(
            replace(
                metacloak.PRESETS["release"],
                training=Training(lr=LR),
                class_images=CLASSES,
                trials=1,
                interval=2,
                advance=2,
            ),
            surrogate_steps="turns",
            pgd_steps="turns",
        ),
        "liuyixin-louis/MetaCloak 67bcf70",
        tuple(
            stated(
                metacloak_release.metacloak,
                "the package blurs and flips every photo for itself" * together,
                **LEARN,
                budget=11,
                step=1.1,
                pgd_steps=TURNS,
                pool_steps=TURNS,
                interval=2,
                advance=2,
                blur=7,
                together=together,
            )
            for together in (False, True)
        ),
        sample=True,
    ),
    Case(
        "caat",
        caat,
        short(replace(caat.PRESETS["paper"], lr=LR), steps="steps"),
        "CO2-cityao/CAAT 67792b5",
        (
            stated(
                caat_release.caat,
                **LOOP,
                budget=12.75,
                step=0.64,
                prompt="a photo of a person",
                lr=LR,
            ),
        ),
        sample=True,
    ),
    Case(
        "ace",
        ace,
        short(
            replace(ace.PRESETS["paper"], class_images=CLASSES),
            outer="turns",
            steps="turns",
            lora_steps="turns",
        ),
        "psyker-team/mist-v2 ed195b9",
        tuple(
            stated(
                mist_v2.ace,
                "the package has LoRA on the attention alone" * feed_forward,
                photos=PHOTOS,
                classes=attrgetter("classes"),
                target=attrgetter("target"),
                prompts=("a picture", "a picture"),
                budget=4,
                step=0.64,
                steps=TURNS,
                outer=TURNS,
                lora_steps=TURNS,
                rank=4,
                lr=1e-4,
                prior_weight=0.1,
                feed_forward=feed_forward,
            )
            for feed_forward in (False, True)
        ),
    ),
)
