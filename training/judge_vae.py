"""How well the autoencoders bring back photos that they were never trained on, beside their
teacher."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import dlib
import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from judging import centre, outside, picture, save_sheet, stack, summary, unseen
from teacher import Teacher
from torch import Tensor

from cloakwork.models.lpips import load_lpips

MATCH = 0.6  # dlib's own threshold for two descriptors of one person
Coder = tuple[
    Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]
]  # photo -> scaled latents, scaled latents -> picture


def kl_coder(folder: Path) -> Coder:
    vae = AutoencoderKL.from_pretrained(folder).eval()
    scale = vae.config.scaling_factor

    def encode(x: Tensor) -> Tensor:
        return vae.encode(2 * x - 1).latent_dist.mean * scale

    return encode, lambda z: (vae.decode(z / scale).sample / 2 + 0.5).clamp(0, 1)


def small_coder(folder: Path) -> Coder:
    vae = AutoencoderTiny.from_pretrained(folder).eval()
    return lambda x: vae.encode(2 * x - 1).latents, lambda z: (
        vae.decode(z).sample / 2 + 0.5
    ).clamp(0, 1)


def coders(model: Path, shared: Path) -> dict[str, Coder]:
    teacher = Teacher(shared / "weights" / "taesd")
    found: dict[str, Coder] = {"taesd": (teacher.encode, teacher.decode)}
    for name, place, load in (("tiny", "tiny", kl_coder), ("tiny-b", "tiny-b", small_coder)):
        if (model / place / "vae").exists():
            found[name] = load(model / place / "vae")
    return found


@torch.no_grad()
def round_trip(coder: Coder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled latents and pictures of all photos, sixteen at a time."""
    encode, decode = coder
    latents = torch.cat([encode(part) for part in x.split(16)])
    return latents, torch.cat([decode(part) for part in latents.split(16)])


@torch.no_grad()
def fidelity(x: Tensor, y: Tensor, sets: list[str]) -> dict:
    """PSNR (dB) and LPIPS over all photos, and over portraits and subjects apart."""
    psnr = -10 * (x - y).square().mean((1, 2, 3)).log10()
    distance = torch.cat(
        [load_lpips()(a, b) for a, b in zip(x.split(16), y.split(16), strict=True)]
    )
    result = {"psnr": summary(psnr.numpy(), sets), "lpips": summary(distance.numpy(), sets)}
    for kind in ("identities", "subjects"):
        rows = [i for i, s in enumerate(sets) if s.startswith(kind)]
        mean = {"psnr": psnr[rows].mean().item(), "lpips": distance[rows].mean().item()}
        result[kind] = {k: round(v, 4) for k, v in mean.items()} | {"n": len(rows)}
    return result


class Faces:
    """dlib's face descriptor of a 128 px picture, enlarged by two because its detector wants faces
    of about 80 px."""

    def __init__(self, folder: Path) -> None:
        self.find = dlib.get_frontal_face_detector()
        self.landmarks = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self.describe = dlib.face_recognition_model_v1(
            str(folder / "dlib_face_recognition_resnet_model_v1.dat")
        )

    def __call__(self, x: Tensor) -> np.ndarray | None:
        """128 numbers for the largest face, or None where no face is found."""
        pixels = np.asarray(picture(x).resize((256, 256)))
        faces = self.find(pixels, 0)
        if not faces:
            return None
        face = max(faces, key=lambda r: r.area())
        return np.array(self.describe.compute_face_descriptor(pixels, self.landmarks(pixels, face)))


def dlib_folder(given: Path | None) -> Path | None:
    """Where dlib's networks are: the flag, or the installed package face_recognition_models (found
    without importing it)."""
    spec = importlib.util.find_spec("face_recognition_models") if given is None else None
    return Path(spec.origin).parent / "models" if spec and spec.origin else given


def matches(
    described: list[np.ndarray | None], clean: list[np.ndarray | None], people: list[str]
) -> dict:
    """Photos matched to their own person (mean of the person's *other* clean photos) and, as a
    control, to any of the others."""
    found: dict[str, int] = dict.fromkeys(sorted(set(people)), 0)
    strangers = 0
    for i, d in enumerate(described):
        if d is None:
            continue
        for person in found:
            others = [
                c for j, c in enumerate(clean) if people[j] == person and j != i and c is not None
            ]
            near = bool(np.linalg.norm(d - np.mean(others, 0)) < MATCH)
            found[person] += near and person == people[i]
            strangers += near and person != people[i]
    faces = sum(d is not None for d in described)
    return {
        "matched": sum(found.values()),
        "n": len(described),
        "per_person": found,
        "faces_found": faces,
        "taken_for_another": strangers,
        "n_others": len(described) * (len(found) - 1),
    }


def write_sheets(x: Tensor, trips: dict[str, Tensor], sets: list[str], folder: Path) -> None:
    """Rows: original, then each coder; columns: the first photo of twelve subjects, two photos of
    each person."""
    firsts = {s: i for i, s in reversed(list(enumerate(sets)))}
    subjects = [i for s, i in sorted(firsts.items()) if s.startswith("subjects")][::2]
    people = [
        i + k for s, i in sorted(firsts.items()) if s.startswith("identities") for k in (0, 7)
    ]
    for name, rows in (("vae-subjects", subjects), ("vae-people", people)):
        save_sheet([x[rows], *(y[rows] for y in trips.values())], folder / f"{name}.png")
    (folder / "vae-rows.txt").write_text("\n".join(["original", *trips]) + "\n")


def measure(model: Path, shared: Path, dlib_models: Path | None, sheets: Path | None) -> dict:
    """Everything about the autoencoders under `model`, keyed by coder, the teacher under
    "taesd"."""
    folder = outside(sheets) if sheets else None
    photos = unseen(shared)
    sets = [s for s, _ in photos]
    x = stack([centre(p) for _, p in photos])
    trips, latents, result = {}, {}, {}
    for name, coder in coders(model, shared).items():
        latents[name], trips[name] = round_trip(coder, x)
        result[name] = fidelity(x, trips[name], sets)
        error = (latents[name] - latents["taesd"]).square().sum((1, 2, 3)) / latents[
            "taesd"
        ].square().sum((1, 2, 3))
        result[name]["latent_error"] = summary(error.numpy(), sets)
    models = dlib_folder(dlib_models)
    if models:
        faces, portraits = (
            Faces(models),
            [i for i, s in enumerate(sets) if s.startswith("identities")],
        )
        people = [sets[i] for i in portraits]
        clean = [faces(x[i]) for i in portraits]
        result["untouched"] = {"identity": matches(clean, clean, people)}
        for name, y in trips.items():
            result[name]["identity"] = matches([faces(y[i]) for i in portraits], clean, people)
    else:
        print("identity not measured: give --dlib FOLDER or install face_recognition_models")
    if folder:
        write_sheets(x, trips, sets, folder)
    return result
