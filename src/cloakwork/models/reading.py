"""How a model reads prompts. These are methods of `LDM`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cloakwork.models.device import lent
from cloakwork.models.text import Text
from cloakwork.types import Images

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM


def embed(ldm: LDM, prompts: Sequence[str]) -> Text:
    """Embed prompts as text conditioning.

    Cached while the text encoders are frozen; with a graph while one learns.
    """
    prompts = [ldm.spell(p) for p in prompts]
    encoders = ldm.learning_encoders.values()
    if any(p.requires_grad for encoder in encoders for p in encoder.parameters()):
        with ldm.autocast():
            return ldm.family.embed(ldm, prompts)
    new = [p for p in dict.fromkeys(prompts) if p not in ldm._embedded]
    if new:
        readers = ldm.text_encoders.values()
        with torch.no_grad(), ldm.autocast(), lent(readers, ldm.device):
            text = ldm.family.embed(ldm, new)
        ldm._embedded.update({p: text[i : i + 1] for i, p in enumerate(new)})
    return Text.cat([ldm._embedded[p] for p in prompts])


def instruct(ldm: LDM, prompts: Sequence[str], x: Images, z: Tensor) -> Text:
    """Embed what pictures x (n x 3 x S x S in [0, 1], latents z) are to become, n prompts.

    For models that edit alone (see `edits`).
    """
    embed = ldm.family.EDITORS[ldm.editor]
    readers = ldm.text_encoders.values()
    with torch.no_grad(), ldm.autocast(), lent(readers, ldm.device):
        return embed(ldm, prompts, x, z)


def spell(ldm: LDM, prompt: str) -> str:
    """Return the prompt in this tokenizer's words.

    A bare "sks" becomes the model's own token "<sks>" where there is one.
    """
    if "<sks>" in ldm.tokenizer.get_added_vocab():
        return re.sub(r"(?<!<)\bsks\b(?!>)", "<sks>", prompt)
    return prompt
