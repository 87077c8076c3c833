"""What all attackers that train share: photos as a trainer sees them, words for the subject, the
pictures that a thief gets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cloakwork.finetuning.cdl import CDL, NO_CDL
from cloakwork.finetuning.prompts import SUBJECT, with_token
from cloakwork.finetuning.training import SampleFn
from cloakwork.models.ldm import LDM, Sampling
from cloakwork.types import Images


def draw_seed(rng: torch.Generator) -> int:
    """A seed for the pictures, to be drawn before anything else: their noise is then the same
    whatever was trained, and how.
    """
    return int(torch.randint(2**62, (), generator=rng))


def sampler(
    thief: LDM,
    prompts: Sequence[str],
    how: Sampling,
    seed: int,
    *,
    token: str = SUBJECT,
    cdl: CDL = NO_CDL,
) -> SampleFn:
    """A function from n to n pictures for each prompt, in the prompts' order, in [0, 1]; the same
    noise every time.

    Prompts call the subject "sks", which becomes the thief's own `token`.
    """
    prompts, how = [with_token(cdl.asked(p), token) for p in prompts], cdl.sampling(how)

    def draw(n: int) -> Images:
        rng = torch.Generator().manual_seed(seed)
        return thief.sample(
            prompts,
            n,
            rng,
            guidance=how.guidance,
            steps=how.steps,
            negative=how.negative,
            scheduler=how.scheduler,
        )

    return draw
