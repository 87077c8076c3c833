"""Attackers that train: DreamBooth, Custom Diffusion, LoRA."""

from __future__ import annotations

from operator import attrgetter

from releases import trainers

from cloakwork.attackers import custom_diffusion, dreambooth, lora, textual_inversion
from cloakwork.models.sampling import Sampling
from cloakwork.photos.preprocessing import Preprocessing
from compared.sides import CLASSES, LR, PHOTOS, STEPS, Case, short, stated

TRAINER = {
    "photos": PHOTOS,
    "classes": attrgetter("classes"),
    "lr": LR,
    "steps": STEPS,
    "batch": 2,
}
ONE_PICTURE = {"batch": 2, "lr": LR, "sampling": Sampling(n=1, steps=1)}
TRAINERS = (
    Case(
        "dreambooth (trainer)",
        dreambooth,
        short(dreambooth.Config(**ONE_PICTURE, class_images=CLASSES), steps="steps"),
        "huggingface/diffusers 58eb52c",
        (stated(trainers.dreambooth, **TRAINER, prompts=attrgetter("prompts")),),
    ),
    Case(
        "custom_diffusion (trainer)",
        custom_diffusion,
        short(
            custom_diffusion.Config(
                **ONE_PICTURE,
                class_images=CLASSES,
                initial_word="person",
                loader=Preprocessing(),
            ),
            steps="steps",
        ),
        "huggingface/diffusers 58eb52c",
        (
            stated(
                trainers.custom_diffusion,
                **TRAINER,
                prompts=("a photo of <subject> person", "a photo of person"),
                word="<subject>",
                like="person",
            ),
        ),
    ),
    Case(
        "lora (trainer)",
        lora,
        short(lora.Config(**ONE_PICTURE, text_encoder=True), steps="steps"),
        "huggingface/diffusers 58eb52c",
        (
            stated(
                trainers.lora,
                **{k: v for k, v in TRAINER.items() if k != "classes"},
                prompts=attrgetter("prompts"),
                rank=4,
                text_encoder=True,
            ),
        ),
    ),
    Case(
        "textual_inversion (trainer)",
        textual_inversion,
        short(
            textual_inversion.Config(
                **ONE_PICTURE, vectors=2, instance_prompt="a photo of sks person"
            ),
            steps="steps",
        ),
        "huggingface/diffusers 000280f",
        (
            stated(
                trainers.textual_inversion,
                **{k: v for k, v in TRAINER.items() if k != "classes"},
                prompts=("a photo of <subject> <subject>_1 person",),
                words=["<subject>", "<subject>_1"],
                like="person",
            ),
        ),
    ),
)
