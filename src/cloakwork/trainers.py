"""What all attackers that train share: photos as a trainer sees them, words for the subject, the pictures that a thief gets."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork import decoupling
from cloakwork.decoupling import CDL
from cloakwork.errors import UserError, check_ranges, told
from cloakwork.models import schedulers
from cloakwork.models.ldm import LDM, Sampling
from cloakwork.personalize import Draw, Feed, Lesson, Training, class_pictures, lesson, turn
from cloakwork.photos.preprocessing import Preprocessing, augment, preprocess
from cloakwork.state import State
from cloakwork.types import Images, Photos

SUBJECT = "sks"  # the word that stands for the subject in everybody's prompts


# bounds of what trainers' Configs may hold; a rate of 0 is a control
RANGES = {
    "lr": (0, math.inf), "final_lr": (0, 1), "steps": (1, math.inf), "batch": (1, math.inf), "prior_weight": (0, math.inf),
    "class_images": (0, math.inf), "rank": (1, math.inf), "vectors": (1, math.inf), "sampling.n": (1, math.inf),
    "sampling.guidance": (0, 1000),
}  # fmt: skip


def check(photos: Photos, victim: LDM, cfg: Any, prompts: Sequence[str], state: State) -> None:
    """Raises UserError with every fault in what a thief was given, before anything costly is done."""
    faults = []
    if not photos:
        faults.append("There are no photos to learn from; give one at least.")
    if not prompts:
        faults.append(f'There are no prompts; give one at least, such as "a photo of {SUBJECT} person".')
    bounded = {name: span for name, span in RANGES.items() if name.partition(".")[0] in {f.name for f in fields(cfg)}}
    faults += told(check_ranges, cfg, **bounded)
    faults += told(schedulers.check, victim.scheduler, cfg.sampling.scheduler, cfg.sampling.steps, (1.0,))
    kept = state.keep_model
    if kept is not None and kept.exists() and not (kept.is_dir() and not any(kept.iterdir())):
        faults.append(f"{kept} exists already; name a new folder for the model.")
    if faults:
        raise UserError(*faults)


def seed_of(rng: torch.Generator) -> int:
    """A seed for the pictures, to be drawn before anything else: their noise is then the same whatever was trained, and how."""
    return int(torch.randint(2**62, (), generator=rng))


def drawer(
    thief: LDM, prompts: Sequence[str], how: Sampling, seed: int, *, token: str = SUBJECT, cdl: CDL = decoupling.NONE
) -> Draw:
    """A function from n to n pictures for each prompt, in the prompts' order, in [0, 1]; the same noise every time.

    Prompts call the subject "sks", which becomes the thief's own `token`.
    """
    prompts, how = [call(cdl.asked(p), token) for p in prompts], cdl.sampling(how)

    def draw(n: int) -> Images:
        rng = torch.Generator().manual_seed(seed)
        return thief.sample(
            prompts, n, rng, guidance=how.guidance, steps=how.steps, negative=how.negative, scheduler=how.scheduler
        )

    return draw


def call(prompt: str, token: str) -> str:
    """The prompt with the thief's own token for the subject: "sks" as a word of its own becomes `token`."""
    return re.sub(rf"(?<![\w<]){SUBJECT}(?![\w>])", lambda _: token, prompt)


def call_by(words: str, instance_prompt: str, token: str) -> str:
    """The instance prompt with new words in it.

    Raises:
        UserError: it has neither "sks" nor `token`, so the new words would learn nothing.
    """
    prompt = call(instance_prompt.replace(token, SUBJECT), words)
    if words not in prompt:
        raise UserError(f"The instance prompt '{instance_prompt}' has no '{SUBJECT}' in it; put it where the subject is named.")
    return prompt


def prior(
    victim: LDM, prompt: str, most: int, how: Training, steps: int, state: State, *, under: str | None = None
) -> Lesson | None:
    """Pictures of the class by the victim itself, at most `most` and only as many as the training uses; None without a weight.

    They are drawn for `prompt` and learned `under` other words, where some are given.
    """
    n = min(most, steps * how.batch)
    if not how.prior_weight or n < 1:
        return None
    return lesson(victim, class_pictures(victim, prompt, n, progress=state.progress), under or prompt)


def feeder(ldm: LDM, photos: Photos, loader: Preprocessing, batch: int, rng: torch.Generator, *, buckets: bool = False) -> Feed:
    """What a trainer gets in a step: latents of `batch` photos, taken in turn.

    They are encoded once, unless the loader draws something or the model samples its posterior.

    Args:
        ldm: whose autoencoder is used.
        photos: each 3 x H x W in [0, 1].
        loader: how the thief reads photos.
        batch: photos a step.
        rng: for the loader and the posterior.
        buckets: oblong photos keep their shape (see `bucket`), whatever the loader says of cropping.
    """
    photos = [p.to(ldm.device) for p in photos]

    @torch.no_grad()
    def see(which: list[int]) -> list[Tensor]:
        if buckets:
            unit = ldm.scale * 2 ** (len(ldm.unet.config.block_out_channels) - 1)
            views = [augment(bucket(photos[i], ldm.size, unit)[None], loader, rng) for i in which]
        else:
            views = list(preprocess([photos[i] for i in which], ldm.size, loader, rng).split(8))
        return [z for view in views for z in ldm.encode(view, rng)]

    if draws(loader) or ldm.sample_posterior:
        return lambda step: see(turn(step, batch, len(photos)))
    latents = see(list(range(len(photos))))
    return lambda step: [latents[i] for i in turn(step, batch, len(latents))]


def draws(loader: Preprocessing) -> bool:
    """Whether a loader shows the same photo in more than one way."""
    spans = [loader.blur_sigma if loader.blur else None, loader.jpeg]
    return loader.crop == "slide" or loader.zoom < 1 or 0 < loader.flip < 1 or any(s is not None and s[0] < s[1] for s in spans)


def bucket(photo: Tensor, size: int, unit: int) -> Tensor:
    """A photo (3 x H x W) cut and resized to the nearest aspect bucket: sides in multiples of `unit`, at most size² pixels.

    As trainers with aspect buckets do it (Novel AI's, kohya's): no side is below half of `size`.
    """
    height, width = photo.shape[-2:]
    tall = [(h, size * size // h // unit * unit) for h in range(size // unit * unit, 2 * size + 1, unit)]
    shapes = [(a, b) for h, w in tall if 2 * w >= size for a, b in ((h, w), (w, h))]
    h, w = min(shapes, key=lambda s: abs(math.log(s[0] / s[1] * width / height)))
    zoom = min(height / h, width / w)
    cut = round(h * zoom), round(w * zoom)
    top, left = (height - cut[0]) // 2, (width - cut[1]) // 2
    inner = photo[None, :, top : top + cut[0], left : left + cut[1]]
    return F.interpolate(inner, (h, w), mode="bilinear", antialias=True)[0]
