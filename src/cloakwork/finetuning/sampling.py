"""The pictures that an attacker draws from a trained model, and their seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cloakwork.finetuning.cdl import CDL, NO_CDL
from cloakwork.finetuning.prompts import SUBJECT, with_token
from cloakwork.finetuning.training import SampleFn
from cloakwork.models.ldm import LDM
from cloakwork.models.sampling import Sampling
from cloakwork.types import Images


def draw_seed(rng: torch.Generator) -> int:
    """Draw a seed for the pictures.

    To be called before anything else is drawn: their noise is then the same whatever was trained,
    and how.
    """
    return int(torch.randint(2**62, (), generator=rng))


def sampler(
    theta: LDM,
    prompts: Sequence[str],
    sampling: Sampling,
    seed: int,
    *,
    token: str = SUBJECT,
    cdl: CDL = NO_CDL,
) -> SampleFn:
    """Return a function that draws pictures from a model as it is then.

    Args:
        theta: the model.
        prompts: what the pictures show; they call the subject "sks".
        sampling: steps, guidance and scheduler.
        seed: of the noise, which is the same in every call.
        token: the attacker's own words for the subject, in place of "sks".
        cdl: may change the words and add a negative prompt.

    Returns:
        From n to n pictures a prompt, in the prompts' order, in [0, 1].
    """
    prompts = [with_token(cdl.sampling_prompt(p), token) for p in prompts]
    sampling = cdl.sampling(sampling)

    def draw(n: int) -> Images:
        rng = torch.Generator().manual_seed(seed)
        return theta.sample(
            prompts,
            n,
            rng,
            guidance=sampling.guidance,
            steps=sampling.steps,
            negative=sampling.negative,
            scheduler=sampling.scheduler,
        )

    return draw
