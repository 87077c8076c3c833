"""How pictures are drawn from a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """Settings with which pictures are drawn from a model."""

    n: int = 16
    """pictures for each prompt"""
    steps: int = 25
    """denoising steps"""
    guidance: float = 7.5
    """classifier-free guidance scale (1: none)"""
    negative: str = ""
    """negative prompt"""
    scheduler: str = "ddim"
    """sampler"""
