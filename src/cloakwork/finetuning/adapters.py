"""What an attacker adds to a frozen model, to train that alone: LoRA layers and new words."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from cloakwork.errors import UserError
from cloakwork.models.ldm import LDM

TEXT_LORA = ["q_proj", "k_proj", "v_proj", "out_proj"]
Layers = Literal["attention", "all"]


@torch.no_grad()
def add_lora(
    ldm: LDM, rank: int, layers: Layers, rng: torch.Generator, *, text_encoder: bool
) -> None:
    """Put LoRA layers (Hu et al., arXiv 2106.09685) on a model, in place.

    The first matrix is normal with standard deviation 1 / rank, the second zero, so that nothing
    has changed yet; alpha is the rank.

    Args:
        ldm: the model; none of its weights requires a gradient afterwards.
        rank: of every layer.
        layers: which of the denoiser's layers get one.
        rng: for the first matrices.
        text_encoder: put them on the attention of the text encoders that may learn too.
    """
    from peft import LoraConfig

    others = ldm.family.OTHERS if layers == "all" else []
    parts = [(ldm.denoiser, [*ldm.family.ATTENTION, *others])]
    if text_encoder:
        parts += [(encoder, TEXT_LORA) for encoder in ldm.learning_encoders.values()]
    for part, targets in parts:
        # peft draws from the global generator, and what it draws is replaced below
        with torch.random.fork_rng(devices=[]):
            part.add_adapter(
                LoraConfig(r=rank, lora_alpha=rank, init_lora_weights=True, target_modules=targets)
            )
        for name, p in part.named_parameters():
            p.requires_grad_(False)
            if is_lora(name):
                p.data = p.data.float()  # peft takes the dtype of the layer beneath
            if ".lora_A." in name:
                p.copy_(torch.randn(p.shape, generator=rng) / rank)


class Words(nn.Module):
    """A text encoder's word embeddings, and rows of its own for new words that learn."""

    def __init__(self, known: nn.Embedding, ids: list[int], learned: Tensor) -> None:
        super().__init__()
        self.known, self.ids, self.learned = known, ids, nn.Parameter(learned, requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings (n x L x d) of token ids (n x L)."""
        x = self.known(ids.clamp(max=self.known.num_embeddings - 1))
        for token, row in zip(self.ids, self.learned, strict=True):
            x = torch.where((ids == token)[..., None], row, x)
        return x

    @property
    def weight(self) -> Tensor:
        """Return the known rows, for code that asks for their type or device."""
        return self.known.weight


def add_words(ldm: LDM, token: str, n: int, initial: str) -> tuple[LDM, str]:
    """Teach a model n new tokens (`token`, `token`_1, ...), each embedded like the word `initial`.

    `ldm` itself must be a copy: its text encoder is changed, its tokenizer is not.

    Returns:
        The model with a tokenizer of its own, and the new tokens as they stand in a prompt.

    Raises:
        UserError: the token is known already, the initial word is not one token, or the model reads
            prompts with several text encoders or with a language model.
    """
    readers = [part for part in ldm.family.PARTS if part.startswith("text_encoder")]
    if len(readers) > 1:
        raise UserError(
            f"New words are learned for one text encoder; '{ldm.name}' is {ldm.family.NAME}, which "
            f"has {len(readers)}. Take lora or dreambooth."
        )
    if not ldm.family.LEARNERS:
        raise UserError(
            f"New words are learned for a CLIP; '{ldm.name}' is {ldm.family.NAME}, which reads "
            "prompts with a language model. Take lora or dreambooth."
        )
    tokens = [token] + [f"{token}_{i}" for i in range(1, n)]

    def ids_of(word: str) -> list[int]:
        return ldm.tokenizer(word, add_special_tokens=False).input_ids

    faults = [
        f"The token '{t}' is a word of this model already; choose another."
        for t in tokens
        if len(ids_of(t)) == 1
    ]
    ids = ids_of(ldm.spell(initial))
    if len(ids) != 1:
        faults.append(
            f"The initial word '{initial}' is {len(ids)} tokens to this model; "
            "choose a word that is one."
        )
    if faults:
        raise UserError(*faults)
    tokenizer = deepcopy(ldm.tokenizer)
    tokenizer.add_tokens(tokens)
    known = ldm.text_encoder.get_input_embeddings()
    learned = known.weight[ids].detach().expand(n, -1).clone()
    ldm.text_encoder.set_input_embeddings(
        Words(known, tokenizer.convert_tokens_to_ids(tokens), learned)
    )
    return replace(ldm, tokenizer=tokenizer, _embedded={}), " ".join(tokens)


def is_lora(name: str) -> bool:
    """Return whether a weight of that name belongs to a LoRA layer.

    >>> is_lora("unet.conv_in.lora_A.default.weight"), is_lora("unet.conv_in.weight")
    (True, False)
    """
    return ".lora_" in name


def is_word(name: str) -> bool:
    """Return whether a weight of that name is a new word's embedding."""
    return name.endswith(".learned")


def is_custom(name: str) -> bool:
    """Return whether Custom Diffusion trains the weight of that name: keys and values of the
    cross-attention, and new words.

    >>> [is_custom(f"unet.mid.attn{i}.to_k.weight") for i in (1, 2)]
    [False, True]
    """
    return is_word(name) or (
        name.startswith("unet.") and name.endswith((".attn2.to_k.weight", ".attn2.to_v.weight"))
    )


def detach_first_token(ldm: LDM) -> None:
    """Let cross-attention keys and values learn nothing from a prompt's first token, in place.

    That token is the same in every prompt. diffusers' CustomDiffusionAttnProcessor, which the
    trainers of Custom Diffusion and CAAT use, takes its key and value out of the graph. The model
    computes what it did before.
    """
    for name, module in ldm.denoiser.named_modules():
        if is_custom(f"{ldm.family.DENOISER}.{name}.weight"):
            module.register_forward_hook(_without_first)


def _without_first(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
    """Return keys or values (n x tokens x d) of which the first token's has no gradient."""
    if not out.requires_grad:
        return out
    return torch.cat([out[:, :1].detach(), out[:, 1:]], dim=1)
