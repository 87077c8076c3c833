"""How far the small encoders of whole families are from their teachers, on photos that they were
never trained on, at several sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from encoders import TEACHERS
from judging import stack, summary, unseen
from PIL import Image, ImageOps
from teacher import Teacher
from torch import Tensor

from cloakwork.models import autoencoders
from cloakwork.models.autoencoders import Autoencoder

# photos of one set (person or subject) at a size; only the subjects' photos have 512 pixels
PER_SET = {128: 2, 256: 1, 512: 1}
GOAL = 0.1


def photos(shared: Path, side: int) -> tuple[list[str], list[Tensor]]:
    """The sets and the centre squares (1 x 3 x side x side) of photos that are large enough."""
    sets, pictures = [], []
    for name, path in unseen(shared):
        if sets.count(name) == PER_SET[side]:
            continue
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file).convert("RGB")
        if min(image.size) >= side:
            fitted = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
            sets.append(name)
            pictures.append(stack([fitted]))
    return sets, pictures


@torch.no_grad()
def errors(student: Autoencoder, teacher: Teacher, x: list[Tensor]) -> dict[str, np.ndarray]:
    """For each photo the squared error of its latents, over the energy of the teacher's latents
    (`plain`) and over their energy about each channel's mean in all photos (`error`)."""
    targets = torch.cat([teacher.encode(p) for p in x])
    answers = torch.cat([student.encode(p) for p in x])
    missed = (answers - targets).square().sum((1, 2, 3))
    spread = targets - targets.mean((0, 2, 3), keepdim=True)
    return {
        "error": (missed / spread.square().sum((1, 2, 3))).numpy(),
        "plain": (missed / targets.square().sum((1, 2, 3))).numpy(),
    }


def measure(model: Path, shared: Path) -> dict:
    """For each family with an encoder under `model`, and each size: means with intervals."""
    result: dict[str, dict] = {}
    for name, teacher_name in TEACHERS.items():
        folder = model / "encoders" / name
        if name == "sd" and not folder.exists():
            folder = model / "tiny" / "vae"  # which stands for this family then
        if not folder.exists():
            continue
        student = autoencoders.read_folder(folder, name)
        teacher = Teacher(shared / "weights" / teacher_name)
        result[name] = {"goal": GOAL}
        for side in PER_SET:
            sets, x = photos(shared, side)
            found = errors(student, teacher, x)
            result[name][str(side)] = {k: summary(v, sets) for k, v in found.items()}
            print(f"{name}, {side} px: {result[name][str(side)]['error']}", flush=True)
    return result
