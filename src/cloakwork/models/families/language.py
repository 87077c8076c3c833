"""What families share whose prompts are read by a language model: its words and hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from cloakwork.models.text import Text
from cloakwork.photos.tensors import send

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM


def asked(ldm: LDM, prompt: str, *, thinking: bool) -> str:
    """Return a prompt as a user's words in a chat, to which the model is about to answer."""
    words: str = ldm.tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=thinking,
    )
    return words


def read(ldm: LDM, words: str, most: int) -> tuple[Tensor, ...]:
    """Return the hidden states of a text, of at most so many tokens: before the first layer and
    behind each, 1 x tokens x d.

    A text is read alone, not beside longer ones and so filled up: what comes last changes nothing
    of what was before.
    """
    ids = ldm.tokenizer([words], max_length=most, truncation=True, return_tensors="pt").input_ids
    # the model without its head, whose logits nobody asks for
    reader = ldm.text_encoder.base_model
    states: tuple[Tensor, ...] = reader(
        input_ids=send(ids, ldm.device), output_hidden_states=True, use_cache=False
    ).hidden_states
    return states


def ragged(states: Sequence[Tensor]) -> Text:
    """Return prompts of any lengths (each 1 x tokens x d)."""
    return Text.cat([Text(one.float(), lengths=(one.shape[1],)) for one in states])
