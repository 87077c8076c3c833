"""A metric of brightness."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cloakwork.registry import MetricInfo

VERSION = 1


@dataclass(frozen=True)
class Config:
    label: str = ""


METRIC = MetricInfo(scope="image", better="higher", range=(0, 1), unit="share", reference="subject")


def score(images, reference, prompts, cfg):
    return torch.stack([i.mean() for i in images])
