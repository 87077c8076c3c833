"""Textual inversion: nothing but the embedding of new words learns the photos.

Gal et al., "An Image is Worth One Word", arXiv 2208.01618. A step lowers the denoising error of the
photos under a prompt with the new word in it. lr 5e-4, batch 4 (there four batches of one) and 3000
steps are those of diffusers' example for textual_inversion.py; its embedding starts as that of an
ordinary word.

Departures (beside the package's conventions):
- the rate is 5e-4 itself (the example's --scale_lr makes 2e-3 of it);
- one instance prompt under all photos, the same as for the other attackers (the authors draw from a
  list of templates);
- weight decay .01 acts on the new rows alone;
- several vectors are written as diffusers writes them ("<subject> <subject>_1 ..."), and start
  alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cloakwork.finetuning import adapters
from cloakwork.finetuning.cdl import CDL
from cloakwork.finetuning.export import keep_words
from cloakwork.finetuning.personalize import personalize
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

VERSION = 2  # 1 clipped the gradient, which the release does not; on `tiny` it never was so long
TRAINS = True
SAMPLES = True


@dataclass(frozen=True)
class Config:
    """Names of the trainers."""

    lr: float = 5e-4
    """AdamW learning rate, constant"""
    steps: int = 3000
    """training steps"""
    batch: int = 4
    """photos a step"""
    vectors: int = 1
    """new words that are learned together"""
    initial_word: str = "person"
    """word whose embedding the new ones start from; one token"""
    instance_prompt: str = field(default="a photo of sks", metadata=SUBJECT_PROMPT)
    """what the attacker writes under the photos"""
    token: str = "<subject>"
    """the new word, in place of "sks" in every prompt; not in the vocabulary yet"""
    loader: Preprocessing = field(default_factory=Preprocessing)
    """how the attacker's trainer reads the photos"""
    gradient_checkpointing: bool = False
    """less memory for more time, the same bytes"""
    sampling: Sampling = field(default_factory=Sampling)
    """how pictures are drawn at the end"""
    cdl: CDL = field(default=CDL(), metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """contrastive decoupling learning: a name for the noise, and pictures asked for without it"""


PRESETS = {
    "tiny": Config(
        lr=3e-3,
        steps=400,
        vectors=4,
        instance_prompt="a photo of sks person",
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
    `state.keep_model` becomes a folder with `learned_embeds.safetensors`.

    Returns:
        `sampling.n` pictures a prompt, in the prompts' order, n x 3 x S x S in [0, 1].

    Raises:
        UserError: nothing to learn from or to draw, numbers out of range, a model folder that
            exists, an instance prompt without the subject's word, a known token, an initial word of
            several tokens.
    """
    check_trainer(photos, victim, cfg, prompts, state)
    seed = draw_seed(rng)
    theta, words = adapters.add_words(victim.copy(), cfg.token, cfg.vectors, cfg.initial_word)
    instance = with_new_token(words, cfg.cdl.instance_prompt(cfg.instance_prompt), cfg.token)
    training = Training(
        lr=cfg.lr,
        batch=cfg.batch,
        prior_weight=0,
        clip=0,
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
        only=adapters.is_word,
        export=lambda trained, folder: keep_words(trained, cfg.token, folder),
        rng=rng,
        state=state,
    )
