"""Writes what was trained to files that diffusers loads."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from cloakwork.errors import UserError
from cloakwork.files.parts import new_part, remove_parts
from cloakwork.files.tensors import write_tensors
from cloakwork.finetuning.adapters import is_custom
from cloakwork.models.ldm import LDM
from cloakwork.models.pipeline_files import DISTILLED, PROCESSOR, ZEROS

# diffusers' own file names
LORA = "pytorch_lora_weights.safetensors"
WORDS = "learned_embeds.safetensors"
CUSTOM = "pytorch_custom_diffusion_weights.safetensors"


def keep_lora(ldm: LDM, folder: Path) -> None:
    """Write the LoRA layers as `pipe.load_lora_weights(folder)` reads them.

    For a UNet all names are of diffusers' older kind (it reads a mixture wrongly, and says
    nothing), for a transformer they are peft's. Those of text encoders are from before transformers
    5 dropped the `text_model` in them, so that other tools know them.
    """
    from peft.utils import get_peft_model_state_dict

    tensors = {}
    for part, module in ldm.learners.items():
        of_text = part in ldm.family.LEARNERS
        prefix, layer = (".text_model", "lora_linear_layer") if of_text else ("", "lora")
        older = {".lora_A.": f".{layer}.down.", ".lora_B.": f".{layer}.up."}
        for name, p in (
            get_peft_model_state_dict(module).items() if hasattr(module, "peft_config") else ()
        ):
            name = name.removeprefix("text_model.")
            for now, before in older.items() if ldm.family.DENOISER == "unet" else ():
                name = name.replace(now, before)
            tensors[f"{part}{prefix}.{name}"] = p.detach().cpu()
    write_tensors(folder / LORA, tensors)


def keep_words(ldm: LDM, token: str, folder: Path) -> None:
    """Write the new words as
    `pipe.load_textual_inversion(folder, weight_name="learned_embeds.safetensors")` reads them.
    """
    write_tensors(
        folder / WORDS, {token: ldm.text_encoder.get_input_embeddings().learned.detach().cpu()}
    )


def keep_custom(ldm: LDM, folder: Path) -> None:
    """Write keys and values of the cross-attention as `pipe.unet.load_attn_procs(folder,
    weight_name="pytorch_custom_diffusion_weights.safetensors", _pipeline=pipe)` reads them.

    diffusers 0.42 does nothing without `_pipeline`, and says nothing.
    Self-attention is named too, without weights: diffusers replaces the processor of every
    attention.
    """
    tensors = {}
    for name, p in ldm.denoiser.named_parameters():
        layer, _, end = name.partition(".attn2.")
        if is_custom(f"unet.{name}"):
            tensors[f"{layer}.attn2.processor.{end[:4]}_custom_diffusion.weight"] = p.detach().cpu()
    empty = [name for name in ldm.denoiser.attn_processors if ".attn1." in name]
    write_tensors(folder / CUSTOM, tensors | {name: torch.empty(0) for name in empty})


def keep_pipeline(ldm: LDM, folder: Path) -> None:
    """Write a whole model, which `from_pretrained(folder)` of its pipeline's class loads.

    Raises:
        UserError: the folder could not be written.
    """
    pipe = pipeline(ldm)
    remove_parts(folder.parent, [folder.name])
    part = new_part(folder)
    try:
        part.mkdir(parents=True)
        pipe.save_pretrained(part, safe_serialization=True)
        if ldm.editor:
            _write_editor(ldm, part)
        for vocabulary in part.glob("tokenizer*/tokenizer.json"):
            _write_vocabulary(vocabulary)
        if folder.is_dir():
            folder.rmdir()  # an empty one; see validation.check_trainer
        os.replace(part, folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{folder} could not be written ({reason}); make room, or choose another folder."
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_editor(ldm: LDM, folder: Path) -> None:
    """Say in a pipeline's folder that it edits, and add what that takes."""
    file = folder / "model_index.json"
    own: dict[str, Any] = {"_class_name": ldm.editor}
    if ldm.processor is not None:
        shutil.copytree(ldm.processor, folder / PROCESSOR)
        own[PROCESSOR] = ["transformers", "Qwen2VLProcessor"]
    file.write_text(json.dumps(json.loads(file.read_text()) | own, indent=2) + "\n")


def pipeline(ldm: LDM) -> Any:
    """Return a model as the diffusers pipeline of its family, of the very same parts."""
    import diffusers

    family, parts = ldm.family, {"vae": ldm.vae, "scheduler": ldm.scheduler}
    for name in family.PARTS:
        if name.startswith("text_encoder"):
            tokenizer = name.replace("text_encoder", "tokenizer")
            parts |= {name: getattr(ldm, name), tokenizer: getattr(ldm, tokenizer)}
    parts[family.DENOISER] = ldm.denoiser
    pipe = getattr(diffusers, family.PIPELINE)(**parts, **family.OPTIONS)
    own = {ZEROS: ldm.zero_negative, DISTILLED: ldm.distilled}
    pipe.register_to_config(**{name: value for name, value in own.items() if name in pipe.config})
    return pipe


def _write_vocabulary(file: Path) -> None:
    """Write vocab.json and merges.txt beside a CLIP's tokenizer.json, for readers before
    transformers 5.
    """
    bpe, folder = json.loads(file.read_text(encoding="utf-8"))["model"], file.parent
    if "merges" not in bpe:
        return
    merges = (m if isinstance(m, str) else " ".join(m) for m in bpe["merges"])
    (folder / "vocab.json").write_text(
        json.dumps(bpe["vocab"], ensure_ascii=False), encoding="utf-8"
    )
    (folder / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8"
    )
