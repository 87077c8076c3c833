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


def read(ldm: LDM, words: str, most: int | None = None, **seen: Tensor) -> tuple[Tensor, ...]:
    """Return the hidden states of a text, before the first layer and behind each, 1 x tokens x d.

    A text is read alone, not beside longer ones and so filled up: what comes last changes nothing
    of what was before.

    Args:
        ldm: the model.
        words: the text.
        most: how many tokens are read of it (None: all).
        seen: further arguments of a text encoder that sees pictures.
    """
    tokenized = ldm.tokenizer([words], max_length=most, truncation=bool(most), return_tensors="pt")
    # the model without its head, whose logits nobody asks for
    states: tuple[Tensor, ...] = ldm.text_encoder.base_model(
        input_ids=send(tokenized.input_ids, ldm.device),
        output_hidden_states=True,
        use_cache=False,
        **{name: send(value, ldm.device) for name, value in seen.items()},
    ).hidden_states
    return states


def ragged(states: Sequence[Tensor]) -> Text:
    """Return prompts of any lengths (each 1 x tokens x d)."""
    return Text.cat([Text(one.float(), lengths=(one.shape[1],)) for one in states])
