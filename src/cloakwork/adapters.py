"""What a thief trains on a frozen model (LoRA, new words), and the files in which diffusers expects what was trained."""

from __future__ import annotations

import json
import os
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cloakwork.errors import UserError
from cloakwork.files import write_tensors
from cloakwork.models.ldm import LDM

ATTENTION_LORA = ["to_q", "to_k", "to_v", "to_out.0"]
OTHER_LORA = ["proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv"]
TEXT_LORA = ["q_proj", "k_proj", "v_proj", "out_proj"]
Layers = Literal["attention", "all"]
LORA, WORDS = "pytorch_lora_weights.safetensors", "learned_embeds.safetensors"  # diffusers' own file names
CUSTOM = "pytorch_custom_diffusion_weights.safetensors"


@torch.no_grad()
def add_lora(ldm: LDM, rank: int, layers: Layers, rng: torch.Generator, *, text_encoder: bool) -> None:
    """Puts LoRA layers (Hu et al., arXiv 2106.09685) on the model's UNet (and the text encoder's attention), in place.

    The first matrix is normal with standard deviation 1 / rank, the second zero, so that nothing has changed yet; alpha is the
    rank.
    """
    from peft import LoraConfig

    parts = [(ldm.unet, ATTENTION_LORA + (OTHER_LORA if layers == "all" else []))]
    parts += [(ldm.text_encoder, TEXT_LORA)] if text_encoder else []
    for part, targets in parts:
        with torch.random.fork_rng(devices=[]):  # peft draws from the global generator, and what it draws is replaced below
            part.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights=True, target_modules=targets))
        for name, p in part.named_parameters():
            p.requires_grad_(False)
            if ".lora_A." in name:
                p.copy_(torch.randn(p.shape, generator=rng) / rank)


def keep_lora(ldm: LDM, folder: Path) -> None:
    """What `pipe.load_lora_weights(folder)` reads.

    All names are of diffusers' older kind (it reads a mixture wrongly, and says nothing); those of the text encoder are from
    before transformers 5 dropped the `text_model` in them, so that other tools know them.
    """
    from peft.utils import get_peft_model_state_dict

    tensors = {}
    for part, prefix, layer in (("unet", "unet.", "lora"), ("text_encoder", "text_encoder.text_model.", "lora_linear_layer")):
        module = getattr(ldm, part)
        for name, p in get_peft_model_state_dict(module).items() if hasattr(module, "peft_config") else ():
            name = name.removeprefix("text_model.").replace(".lora_A.", f".{layer}.down.").replace(".lora_B.", f".{layer}.up.")
            tensors[prefix + name] = p.detach().cpu()
    write_tensors(folder / LORA, tensors)


class Words(nn.Module):
    """A text encoder's word embeddings, and rows of its own for new words."""

    def __init__(self, known: nn.Embedding, ids: list[int], learned: Tensor) -> None:
        super().__init__()
        self.known, self.ids, self.learned = known, ids, nn.Parameter(learned, requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (n x L) to embeddings (n x L x d)."""
        x = self.known(ids.clamp(max=self.known.num_embeddings - 1))
        for token, row in zip(self.ids, self.learned, strict=True):
            x = torch.where((ids == token)[..., None], row, x)
        return x

    @property
    def weight(self) -> Tensor:
        """The known rows, for code that asks for their type or device."""
        return self.known.weight


def add_words(ldm: LDM, token: str, n: int, initial: str) -> tuple[LDM, str]:
    """A model that knows n new tokens (`token`, `token`_1, ...), each embedded like the word `initial`; and how to write them.

    `ldm` itself must be a copy: its text encoder is changed, its tokenizer is not.

    Raises:
        UserError: the token is known already, or the initial word is not one token.
    """
    tokens = [token] + [f"{token}_{i}" for i in range(1, n)]

    def ids_of(word: str) -> list[int]:
        return ldm.tokenizer(word, add_special_tokens=False).input_ids

    faults = [f"The token '{t}' is a word of this model already; choose another." for t in tokens if len(ids_of(t)) == 1]
    ids = ids_of(ldm.spell(initial))
    if len(ids) != 1:
        faults.append(f"The initial word '{initial}' is {len(ids)} tokens to this model; choose a word that is one.")
    if faults:
        raise UserError(*faults)
    tokenizer = deepcopy(ldm.tokenizer)
    tokenizer.add_tokens(tokens)
    known = ldm.text_encoder.get_input_embeddings()
    learned = known.weight[ids].detach().expand(n, -1).clone()
    ldm.text_encoder.set_input_embeddings(Words(known, tokenizer.convert_tokens_to_ids(tokens), learned))
    return replace(ldm, tokenizer=tokenizer, _embedded={}), " ".join(tokens)


def is_word(name: str) -> bool:
    """Whether a weight of that name is a new word's embedding."""
    return name.endswith(".learned")


def is_custom(name: str) -> bool:
    """Whether Custom Diffusion trains the weight of that name: keys and values of the cross-attention, and new words."""
    return is_word(name) or (name.startswith("unet.") and name.endswith((".attn2.to_k.weight", ".attn2.to_v.weight")))


def keep_words(ldm: LDM, token: str, folder: Path) -> None:
    """What `pipe.load_textual_inversion(folder, weight_name="learned_embeds.safetensors")` reads."""
    write_tensors(folder / WORDS, {token: ldm.text_encoder.get_input_embeddings().learned.detach().cpu()})


def keep_custom(ldm: LDM, folder: Path) -> None:
    """What `pipe.unet.load_attn_procs(folder, weight_name="pytorch_custom_diffusion_weights.safetensors", _pipeline=pipe)` reads.

    diffusers 0.42 does nothing without `_pipeline`, and says nothing.
    Self-attention is named too, without weights: diffusers replaces the processor of every attention.
    """
    tensors = {}
    for name, p in ldm.unet.named_parameters():
        layer, _, end = name.partition(".attn2.")
        if is_custom(f"unet.{name}"):
            tensors[f"{layer}.attn2.processor.{end[:4]}_custom_diffusion.weight"] = p.detach().cpu()
    empty = [name for name in ldm.unet.attn_processors if ".attn1." in name]
    write_tensors(folder / CUSTOM, tensors | {name: torch.empty(0) for name in empty})


def keep_pipeline(ldm: LDM, folder: Path) -> None:
    """A whole model that `StableDiffusionPipeline.from_pretrained(folder)` and cloakwork itself load."""
    from diffusers import StableDiffusionPipeline

    make: Any = StableDiffusionPipeline  # its type says that it needs a safety checker; it does not
    pipe = make(
        vae=ldm.vae, text_encoder=ldm.text_encoder, tokenizer=ldm.tokenizer, unet=ldm.unet, scheduler=ldm.scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        pipe.save_pretrained(part, safe_serialization=True)
        _write_vocabulary(part / "tokenizer")
        if folder.is_dir():
            folder.rmdir()  # an empty one; see trainers.check
        os.replace(part, folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{folder} could not be written ({reason}); make room, or choose another folder.") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_vocabulary(folder: Path) -> None:
    """vocab.json and merges.txt beside tokenizer.json, for readers before transformers 5."""
    bpe = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = (m if isinstance(m, str) else " ".join(m) for m in bpe["merges"])
    (folder / "vocab.json").write_text(json.dumps(bpe["vocab"], ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
