"""Custom Diffusion: keys and values of the cross-attention and the embedding of a new word learn
the photos.

Kumari et al., "Multi-Concept Customization of Text-to-Image Diffusion", arXiv 2212.04488. A step
lowers the denoising error of the photos under "a photo of <subject> person" plus that of class
pictures. lr 1e-5, batch 2, 250 steps, flips and 200 class pictures are those of diffusers' example
for train_custom_diffusion.py, and so is that nothing is learned from a prompt's first token.

Departures (beside the package's conventions):
- class pictures are the victim's own (the example takes real ones from a large collection);
- the rate is 1e-5 itself (the example's --scale_lr makes 4e-5 of it);
- no random resizing with a masked loss (the authors' augmentation); flips only, and whatever the
  loader says;
- the new word starts from `initial_word` (the authors: a rare one).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from cloakwork.finetuning import adapters
from cloakwork.finetuning.cdl import CDL
from cloakwork.finetuning.export import keep_custom, keep_words
from cloakwork.finetuning.personalize import personalize, victims_prior
from cloakwork.finetuning.prompts import with_new_token
from cloakwork.finetuning.sampling import draw_seed
from cloakwork.finetuning.training import Training
from cloakwork.finetuning.validation import check_trainer
from cloakwork.models.ldm import LDM
from cloakwork.models.sampling import Sampling
from cloakwork.photos.preprocessing import Preprocessing
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Images, Photos

VERSION = 2  # 1 let keys and values learn from a prompt's first token too
TRAINS = True
SAMPLES = True


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
    instance_prompt: str = field(default="a photo of sks person", metadata=SUBJECT_PROMPT)
    """what the attacker writes under the photos"""
    class_prompt: str = field(default="a photo of person", metadata=SUBJECT_PROMPT)
    """what the class pictures show"""
    token: str = "<subject>"
    """the new word, in place of "sks" in every prompt; not in the vocabulary yet"""
    loader: Preprocessing = field(default_factory=lambda: Preprocessing(flip=0.5))
    """how the attacker's trainer reads the photos"""
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
    """Train on the photos (each 3 x H x W in [0, 1]), and draw what the attacker then gets.

    The starting noise of picture i depends on `rng` alone. `masks` are for editors.
    `state.keep_model` becomes a folder with `pytorch_custom_diffusion_weights.safetensors` and
    `learned_embeds.safetensors`.

    Returns:
        `sampling.n` pictures a prompt, in the prompts' order, n x 3 x S x S in [0, 1].

    Raises:
        UserError: nothing to learn from or to draw, numbers out of range, a model folder that
            exists, an instance prompt without the subject's word, a known token, an initial word of
            several tokens.
    """
    check_trainer(photos, victim, cfg, prompts, state)
    seed = draw_seed(rng)
    theta, words = adapters.add_words(victim.copy(), cfg.token, 1, cfg.initial_word)
    adapters.detach_first_token(theta)
    instance = with_new_token(words, cfg.cdl.instance_prompt(cfg.instance_prompt), cfg.token)
    training = Training(
        lr=cfg.lr,
        batch=cfg.batch,
        prior_weight=cfg.prior_weight,
        gradient_checkpointing=cfg.gradient_checkpointing,
    )
    return personalize(
        theta,
        photos,
        prompts,
        cfg,
        training=training,
        instance=instance,
        token=words,
        seed=seed,
        prior=victims_prior(victim, cfg, training, state),
        only=adapters.is_custom,
        export=partial(_export, cfg.token),
        rng=rng,
        state=state,
    )


def _export(token: str, trained: LDM, folder: Path) -> None:
    """Keep what was learned in a folder: the layers, and the attacker's word."""
    keep_custom(trained, folder)
    keep_words(trained, token, folder)
