"""LoRA: low-rank layers on the attention of the UNet (and text encoder) learn the photos under a
rare word.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685, trained with
DreamBooth's loss (2208.12242). Rank, rate and batch are the defaults of diffusers'
train_dreambooth_lora.py (0.40): rank 4 on to_q, to_k, to_v and to_out, alpha equal to the rank, lr
5e-4, batch 4, the UNet alone, no prior preservation; that script leaves the number of steps to its
user, and 500 is our choice.

The preset "service" is an online training service as far as its pages and common trainers tell:
uploads compressed again to JPEG 90, photos in aspect buckets instead of squares, flips, and LoRA on
the text encoder too. What is left out: captions written by a model, and whatever these services do
in secret. That its victim is another model than the surrogate is up to the caller.

Departures (beside the package's conventions):
- the JPEG compression is applied to the photo at the size the model sees;
- pictures of different shape go through the UNet one shape after the other within a step (kohya's:
  one shape a step).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from cloakwork.finetuning import adapters
from cloakwork.finetuning.cdl import CDL, FULL_CDL
from cloakwork.finetuning.export import keep_lora
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

    rank: int = 4
    """rank of every LoRA layer; alpha is the same"""
    layers: adapters.Layers = "attention"
    """which of the UNet's layers get one: attention (the trainer's default), or all, feed-forward
    and convolutions too (LoCon)"""
    lr: float = 5e-4
    """AdamW learning rate, constant"""
    steps: int = 500
    """training steps"""
    batch: int = 4
    """photos a step (as many class pictures again)"""
    text_encoder: bool = False
    """put LoRA on the text encoder too"""
    prior_weight: float = 0.0
    """weight of the loss on class pictures (0: none are made)"""
    class_images: int = 100
    """most class pictures the victim makes"""
    instance_prompt: str = field(default="a photo of sks person", metadata=SUBJECT_PROMPT)
    """what the attacker writes under the photos"""
    class_prompt: str = field(default="a photo of person", metadata=SUBJECT_PROMPT)
    """what the class pictures show"""
    token: str = "sks"
    """the attacker's word for the subject, in place of "sks" in every prompt"""
    loader: Preprocessing = field(default_factory=Preprocessing)
    """how the attacker's trainer reads the photos"""
    buckets: bool = False
    """train oblong photos in their own shape: the nearest aspect bucket, of at most the square's
    area"""
    gradient_checkpointing: bool = False
    """less memory for more time, the same bytes"""
    adam8bit: bool = False
    """optimizer moments in 8 bits (package bitsandbytes)"""
    sampling: Sampling = field(default_factory=Sampling)
    """how pictures are drawn at the end"""
    cdl: CDL = field(default=CDL(), metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """contrastive decoupling learning: a name for the noise, and pictures asked for without it"""


# `tiny` has no attention at its finest level, and LoRA on attention alone learns nobody there
TINY = Config(
    rank=16,
    layers="all",
    lr=1e-3,
    steps=300,
    text_encoder=True,
    prior_weight=1.0,
    class_images=16,
    sampling=Sampling(guidance=5),
)
PRESETS = {
    "tiny": TINY,
    "service": replace(TINY, buckets=True, loader=Preprocessing(jpeg_quality=(90, 90), flip=0.5)),
    "cdl": replace(TINY, cdl=FULL_CDL),
    "paper": Config(),
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
    `state.keep_model` becomes a folder with `pytorch_lora_weights.safetensors`.

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
        batch=cfg.batch,
        prior_weight=cfg.prior_weight,
        text_encoder=cfg.text_encoder,
        gradient_checkpointing=cfg.gradient_checkpointing,
        adam8bit=cfg.adam8bit,
    )
    theta = victim.copy(share_weights=True)
    adapters.add_lora(theta, cfg.rank, cfg.layers, rng, text_encoder=cfg.text_encoder)
    return personalize(
        theta,
        photos,
        prompts,
        cfg,
        training=training,
        instance=with_token(cfg.cdl.instance_prompt(cfg.instance_prompt), cfg.token),
        token=cfg.token,
        seed=seed,
        prior=victims_prior(victim, cfg, training, state),
        only=adapters.is_lora,
        buckets=cfg.buckets,
        export=keep_lora,
        rng=rng,
        state=state,
    )
