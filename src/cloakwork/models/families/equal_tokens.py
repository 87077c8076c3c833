"""Joint attention over a text that ends in many equal tokens, computed with one of them.

Equal tokens of a text stay equal in every block of a transformer of Stable Diffusion 3's kind: only
the picture's tokens have places. One of them is therefore passed through the layers, and counts as
many in the attention, where the logarithm of their number is added to its scores.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class OneForMany:
    """diffusers' JointAttnProcessor2_0 in which the last text token stands for `many` equal ones.

    For attention that is given a text; the same numbers up to rounding.
    """

    def __init__(self, many: int) -> None:
        self.many = many

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object
    ) -> tuple[Tensor, Tensor]:
        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        def normed(norm: Any, x: Tensor) -> Tensor:
            return x if norm is None else norm(x)

        image, text = hidden_states, encoder_hidden_states
        query = _joined(
            normed(attn.norm_q, heads(attn.to_q(image))),
            normed(attn.norm_added_q, heads(attn.add_q_proj(text))),
        )
        key = _joined(
            normed(attn.norm_k, heads(attn.to_k(image))),
            normed(attn.norm_added_k, heads(attn.add_k_proj(text))),
        )
        value = _joined(heads(attn.to_v(image)), heads(attn.add_v_proj(text)))
        scores = value.new_zeros(value.shape[2])
        scores[-1] = math.log(self.many)
        out = F.scaled_dot_product_attention(
            query.to(value.dtype), key.to(value.dtype), value, attn_mask=scores[None]
        )
        image, text = out.transpose(1, 2).flatten(2).split([image.shape[1], text.shape[1]], 1)
        text = text if attn.context_pre_only else attn.to_add_out(text)
        return attn.to_out[1](attn.to_out[0](image)), text


def _joined(image: Tensor, text: Tensor) -> Tensor:
    return torch.cat([image, text], 2)


def let_one_stand(transformer: Any, many: int) -> None:
    """Have the last token of a transformer's texts stand for `many` equal ones from now on."""
    for block in transformer.transformer_blocks:
        block.attn.set_processor(OneForMany(many))


def one_stands(transformer: Any) -> bool:
    """Return whether it does."""
    return isinstance(transformer.transformer_blocks[0].attn.processor, OneForMany)
