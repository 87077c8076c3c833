"""Contrastive decoupling learning (CDL): an attacker gives the perturbation a name of its own, and
asks for pictures without it.

Liu et al., "Rethinking and Defending Protective Perturbation in Personalized Diffusion Models",
arXiv 2406.18944. A trainer that reads protected photos under "a photo of sks person" takes the
perturbation for part of the person. So the photos are learned under "..., bhj noisy pattern", and
class pictures (drawn under the plain prompt) under "..., without bhj noisy pattern"; pictures are
asked for "without" it too, and led away from a negative prompt. No term is added to the loss.

Checked against the authors' DiffShortcut, where the words at sampling come whether the rest is on
or not; here the three parts are switches of their own, so that each can be measured. The negative
prompt is the paper's (the code: "noisy, lowres, artifact, pattern"); the comma under the photos is
the code's (the paper: "with bhj noisy pattern", field `link`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cloakwork.models.sampling import Sampling
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT


@dataclass(frozen=True)
class CDL:
    """Which parts an attacker uses; none by default."""

    train: bool = False
    """name the noise under the photos, and its absence under class pictures"""
    suffix: bool = False
    """ask for pictures without the noise"""
    negative: bool = False
    """lead away from the negative prompt"""
    noise: str = "bhj noisy pattern"
    """name of the noise"""
    negative_prompt: str = "noisy, abstract, pattern, low quality"
    """what pictures are led away from, in place of the sampling's own negative prompt"""
    link: str = field(default=", ", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """what stands before the noise's name under the photos; the paper: " with " """

    def instance_prompt(self, prompt: str) -> str:
        """Return the words under the photos.

        >>> CDL(train=True).instance_prompt("a photo")
        'a photo, bhj noisy pattern'
        """
        return f"{prompt}{self.link}{self.noise}" if self.train else prompt

    def class_prompt(self, prompt: str) -> str:
        """Return the words under class pictures.

        >>> CDL(train=True).class_prompt("a photo")
        'a photo, without bhj noisy pattern'
        """
        return f"{prompt}, without {self.noise}" if self.train else prompt

    def sampling_prompt(self, prompt: str) -> str:
        """Return the words for which pictures are drawn."""
        return f"{prompt}, without {self.noise}" if self.suffix else prompt

    def sampling(self, plain: Sampling) -> Sampling:
        """Return how pictures are drawn, with the negative prompt if it is on."""
        return replace(plain, negative=self.negative_prompt) if self.negative else plain


NO_CDL = CDL()
FULL_CDL = CDL(train=True, suffix=True, negative=True)
