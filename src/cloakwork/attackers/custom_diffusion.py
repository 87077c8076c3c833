"""Custom Diffusion: keys and values of the cross-attention and the embedding of a new word learn
the photos.

Kumari et al., "Multi-Concept Customization of Text-to-Image Diffusion", arXiv 2212.04488. A step
lowers the denoising error of the photos under "a photo of <subject> person" plus that of class
pictures. lr 1e-5, batch 2, 250 steps, flips and 200 class pictures are those of diffusers' example
for train_custom_diffusion.py.

Departures:
- class pictures are the victim's own (the authors prefer real ones from a large collection);
- no random resizing with a masked loss (the authors' augmentation); flips only, and whatever the
  loader says;
- the new word starts from `initial_word` (the authors: a rare one);
- latents are the posterior's mean unless the victim samples its posterior, and encoded once unless
  the loader draws something.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cloakwork.finetuning import adapters
from cloakwork.finetuning.batches import latent_batches
from cloakwork.finetuning.cdl import CDL
from cloakwork.finetuning.export import keep_custom, keep_words
from cloakwork.finetuning.prior import prior
from cloakwork.finetuning.prompts import with_new_token
from cloakwork.finetuning.sampling import draw_seed, sampler
from cloakwork.finetuning.training import Training, finetune
from cloakwork.finetuning.validation import check_trainer
from cloakwork.models.ldm import LDM, Sampling
from cloakwork.photos.preprocessing import Preprocessing
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT
from cloakwork.state import RunState
from cloakwork.types import Images, Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Names of the trainers."""

    lr: float = 1e-5
    """AdamW learning rate, constant"""
    steps: int = 250
    """training steps"""
    batch: int = 2
    """photos a step (as many class pictures again)"""
    prior_weight: float = 1.0
    """weight of the loss on class pictures (0: none are made)"""
    class_images: int = 200
    """most class pictures the victim makes"""
    initial_word: str = "ktn"
    """word whose embedding the new one starts from; one token"""
    instance_prompt: str = "a photo of sks person"
    """what the thief writes under the photos"""
    class_prompt: str = "a photo of person"
    """what the class pictures show"""
    token: str = "<subject>"
    """the new word, in place of "sks" in every prompt; not in the vocabulary yet"""
    loader: Preprocessing = field(default_factory=lambda: Preprocessing(flip=0.5))
    """how the thief's trainer reads the photos"""
    gradient_checkpointing: bool = False
    """less memory for more time, the same bytes"""
    sampling: Sampling = field(default_factory=Sampling)
    """how pictures are drawn at the end"""
    cdl: CDL = field(default=CDL(), metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """contrastive decoupling learning: a name for the noise, and pictures asked for without it"""


PRESETS = {
    "tiny": Config(
        lr=1e-3,
        steps=300,
        batch=4,
        class_images=16,
        initial_word="sks",
        loader=Preprocessing(),
        sampling=Sampling(guidance=5),
    ),
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
    """What a thief gets who trains on the photos (each 3 x H x W in [0, 1]): `sampling.n` pictures
    a prompt, in their order.

    The starting noise of picture i depends on `rng` alone. `masks` are for editors.
    `state.keep_model` becomes a folder with `pytorch_custom_diffusion_weights.safetensors` and
    `learned_embeds.safetensors`.

    Raises:
        UserError: nothing to learn from or to draw, numbers out of range, a model folder that
            exists, an instance prompt without the subject's word, a known token, an initial word of
            several tokens.
    """
    check_trainer(photos, victim, cfg, prompts, state)
    seed = draw_seed(rng)
    theta, words = adapters.add_words(victim.copy(), cfg.token, 1, cfg.initial_word)
    instance = with_new_token(words, cfg.cdl.instance(cfg.instance_prompt), cfg.token)
    how = Training(
        lr=cfg.lr,
        batch=cfg.batch,
        prior_weight=cfg.prior_weight,
        gradient_checkpointing=cfg.gradient_checkpointing,
    )
    feed = latent_batches(theta, photos, cfg.loader, cfg.batch, rng)
    kind = prior(
        victim,
        cfg.class_prompt,
        cfg.class_images,
        how,
        cfg.steps,
        state,
        under=cfg.cdl.kind(cfg.class_prompt),
    )
    draw = sampler(theta, prompts, cfg.sampling, seed, token=words, cdl=cfg.cdl)
    finetune(theta, feed, instance, kind, how, cfg.steps, rng, state, draw, only=adapters.is_custom)
    pictures = draw(cfg.sampling.n)
    if state.keep_model is not None:
        keep_custom(theta, state.keep_model)
        keep_words(theta, cfg.token, state.keep_model)
    return pictures
