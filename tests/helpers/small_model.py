"""A model of tiny's architecture that computes a tenth of it, for whatever holds at any weights:
that files keep the budget, that a stopped run goes on, that order changes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from cloakwork.files import ASSETS


def save(folder: Path) -> Path:
    """Write a diffusers pipeline with random weights, the same in every run.

    Like tiny it sees 128 x 128 pixels as 16 x 16 latents. Prompts are read by tiny's own tokenizer.
    Several workers may call this at once: the first to finish is kept.
    """
    if folder.is_dir():
        return folder
    with torch.random.fork_rng():
        torch.manual_seed(0)  # noqa: TID251 (layers draw their weights from torch's own generator)
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
            sample_size=128,
        )
        unet = UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(16, 32, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            attention_head_dim=2,
            cross_attention_dim=32,
            norm_num_groups=8,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=1199,
                bos_token_id=1196,
                eos_token_id=1197,
                pad_token_id=1197,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
            )
        )
    tiny = ASSETS / "tiny"
    pipe = StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text,
        tokenizer=CLIPTokenizer.from_pretrained(tiny / "tokenizer"),
        scheduler=DDIMScheduler.from_pretrained(tiny / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return save_once(pipe, folder)


def save_once(pipe: Any, folder: Path) -> Path:
    """Save a pipeline; of several workers that do so at once, the first to finish is kept."""
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    pipe.save_pretrained(unfinished)
    try:
        unfinished.rename(folder)
    except OSError:  # another worker was first
        if not folder.is_dir():
            raise
    return folder
