"""DreamBooth: the whole UNet (and text encoder) learns the photos under a rare word, with prior
preservation.

Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation",
arXiv 2208.12242. A step lowers L(photos, "a photo of sks person") + prior_weight * L(class
pictures, "a photo of person"), L the denoising error; the class pictures are the model's own.

Checked against the evaluation of VinAIResearch/Anti-DreamBooth at c97e891 (1000 steps of 2 + 2
pictures, lr 5e-7, text encoder trained, 200 class pictures, latents cached; 16 pictures a prompt,
100 steps, guidance 7.5; float32 weights under bf16 autocast), and for `transformed` against
liuyixin-louis/MetaCloak at 67bcf70 (blur of kernel 7, flips; there at 512 pixels).

Departures (beside the package's conventions):
- arithmetic is in the victim's dtype throughout, as `--dtype` says (the release: bf16 by autocast);
- only as many class pictures are made as the steps use, in 25 DDIM steps; photos and class pictures
  are taken in turn;
- the presets "tiny" and "transformed" are ours, for small models, which the published rate does not
  move;
- a kept model writes the rare word as cloakwork does: where the vocabulary has "<sks>", prompts in
  other software say "<sks>".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from cloakwork.finetuning.cdl import CDL, FULL_CDL
from cloakwork.finetuning.export import keep_pipeline
from cloakwork.finetuning.personalize import personalize, victims_prior
from cloakwork.finetuning.prompts import with_token
from cloakwork.finetuning.sampling import draw_seed
from cloakwork.finetuning.training import Training
from cloakwork.finetuning.validation import check_trainer
from cloakwork.models.ldm import LDM
from cloakwork.models.sampling import Sampling
from cloakwork.photos.preprocessing import Preprocessing
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Images, Photos

VERSION = 1
TRAINS = True
SAMPLES = True


@dataclass(frozen=True)
class Config:
    """Names of the trainers."""

    lr: float = 5e-7
    """AdamW learning rate"""
    final_lr: float = 1.0
    """share of the learning rate that is left at the end of its linear decay (1: constant)"""
    steps: int = 1000
    """training steps"""
    batch: int = 2
    """photos a step (as many class pictures again)"""
    text_encoder: bool = True
    """train the text encoder too"""
    prior_weight: float = 1.0
    """weight of the loss on class pictures (0: none are made)"""
    class_images: int = 200
    """most class pictures the victim makes"""
    instance_prompt: str = field(default="a photo of sks person", metadata=SUBJECT_PROMPT)
    """what the attacker writes under the photos"""
    class_prompt: str = field(default="a photo of person", metadata=SUBJECT_PROMPT)
    """what the class pictures show"""
    token: str = "sks"
    """the attacker's word for the subject, in place of "sks" in every prompt"""
    loader: Preprocessing = field(default_factory=Preprocessing)
    """how the attacker's trainer reads the photos"""
    gradient_checkpointing: bool = False
    """less memory for more time, the same bytes"""
    adam8bit: bool = False
    """optimizer moments in 8 bits (package bitsandbytes)"""
    sampling: Sampling = field(default_factory=Sampling)
    """how pictures are drawn at the end"""
    cdl: CDL = field(default=CDL(), metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """contrastive decoupling learning: a name for the noise, and pictures asked for without it"""


TINY = Config(lr=3e-4, steps=300, batch=4, class_images=16, sampling=Sampling(guidance=5))
PRESETS = {
    "tiny": TINY,
    # a loader that shows every photo anew leaves a small model rough at a constant rate
    "transformed": replace(
        TINY,
        lr=6e-4,
        final_lr=0.02,
        loader=Preprocessing(
            zoom=0.9, flip=0.5, blur=3, blur_sigma=(0.1, 0.5), jpeg_quality=(75, 95)
        ),
    ),
    "jpeg": replace(TINY, loader=Preprocessing(jpeg_quality=(75, 75))),
    "cdl": replace(TINY, cdl=FULL_CDL),
    "paper": Config(sampling=Sampling(steps=100, scheduler="pndm")),
}


def attack(
    photos: Photos,
    victim: LDM,
    cfg: Config,
    prompts: list[str],
    *,
    masks: Photos | None = None,
    rng: torch.Generator,
    state: RunState,
) -> Images:
    """Train on the photos (each 3 x H x W in [0, 1]), and draw what the attacker then gets.

    The starting noise of picture i depends on `rng` alone. `masks` are for editors.
    `state.keep_model` becomes a pipeline folder.

    Returns:
        `sampling.n` pictures a prompt, in the prompts' order, n x 3 x S x S in [0, 1].

    Raises:
        UserError: nothing to learn from or to draw, numbers out of range, a model folder that
            exists.
    """
    check_trainer(photos, victim, cfg, prompts, state)
    seed = draw_seed(rng)
    training = Training(
        lr=cfg.lr,
        final_lr=cfg.final_lr,
        batch=cfg.batch,
        prior_weight=cfg.prior_weight,
        text_encoder=cfg.text_encoder,
        gradient_checkpointing=cfg.gradient_checkpointing,
        adam8bit=cfg.adam8bit,
    )
    return personalize(
        victim.copy(),
        photos,
        prompts,
        cfg,
        training=training,
        instance=with_token(cfg.cdl.instance_prompt(cfg.instance_prompt), cfg.token),
        token=cfg.token,
        seed=seed,
        prior=victims_prior(victim, cfg, training, state),
        export=keep_pipeline,
        rng=rng,
        state=state,
    )
