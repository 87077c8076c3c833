"""What a thief that trains costs, and whether it works: CPU seconds, faces found, faces matched to their person.

Run: python benchmarks/thief.py --photos PEOPLE/p01/set_B --attacker lora [--set lr=1e-3] [--people PEOPLE --faces MODELS]

PEOPLE has one folder of clean photos for each person, at any depth; MODELS is the folder of dlib's networks (the package
face_recognition_models has one). A face matches a person when its descriptor is within 0.6 of the mean of the person's clean
descriptors, all read as the model sees them. The attacker "none" is the victim itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloakwork import eot, images, loading, methods, trainers
from cloakwork.decoding import EXTENSIONS
from cloakwork.ldm import LDM, Sampling
from cloakwork.state import State, write_grid
from cloakwork.types import Images, Photos

MATCH = 0.6  # dlib's own threshold for two descriptors of one person
Describe = Callable[[Tensor], "np.ndarray | None"]


def read(folder: Path) -> Photos:
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in EXTENSIONS)
    return [images.unit(images.load(f).pixels) for f in files]


def faces(models: Path) -> Describe:
    """128 numbers for the largest face of a picture, or None; enlarged by two, since the detector wants faces of 80 pixels."""
    import dlib
    from PIL import Image

    find = dlib.get_frontal_face_detector()
    landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))

    def describe(x: Tensor) -> np.ndarray | None:
        picture = Image.fromarray(x.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy())
        pixels = np.asarray(picture.resize((2 * picture.width, 2 * picture.height)))
        found = find(pixels, 0)
        if not found:
            return None
        face = max(found, key=lambda r: r.area())
        return np.array(network.compute_face_descriptor(pixels, landmarks(pixels, face)))

    return describe


def means(people: Path, size: int, describe: Describe) -> dict[str, np.ndarray]:
    """The mean descriptor of every person's clean photos."""
    result = {}
    for folder in sorted(p for p in people.iterdir() if p.is_dir()):
        described = [describe(x) for x in eot.view(read(folder), size)]
        result[folder.name] = np.mean([d for d in described if d is not None], 0)
    return result


def matches(pictures: Images, person: str, known: dict[str, np.ndarray], describe: Describe) -> dict[str, Any]:
    """How many pictures show a face, the right person, another of the people (each of them counted)."""
    found = [d for d in (describe(x) for x in pictures) if d is not None]
    near = {name: [float(np.linalg.norm(d - mean)) for d in found] for name, mean in known.items()}
    return {
        "faces": len(found),
        "matched": sum(d < MATCH for d in near[person]),
        "median_distance": round(float(np.median(near[person])), 3) if found else None,
        "matched_another": {name: sum(d < MATCH for d in ds) for name, ds in near.items() if name != person},
    }


def configured(module: Any, preset: str, settings: list[str], n: int) -> Any:
    """The preset with "field=value" settings (values in JSON, or plain text)."""
    config = replace(module.PRESETS[preset], sampling=replace(module.PRESETS[preset].sampling, n=n))
    known = {f.name for f in fields(config)}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in known:
            sys.exit(f"no field {name}; there are {', '.join(sorted(known))}")
        try:
            config = replace(config, **{name: json.loads(value)})
        except json.JSONDecodeError:
            config = replace(config, **{name: value})
    return config


def steal(photos: Photos, victim: LDM, attacker: str, config: Any, prompts: list[str], seed: int) -> tuple[Images, float | None]:
    """Pictures, and the mean loss of the last fifty steps."""
    rng, state = torch.Generator().manual_seed(seed), State()
    if attacker == "none":
        return trainers.drawer(victim, prompts, config, trainers.seed_of(rng))(config.n), None
    pictures = methods.load("attackers", attacker).attack(photos, victim, config, prompts, rng=rng, state=state)
    return pictures, round(float(np.mean(state.trace[-50:])), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--attacker", default="dreambooth")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--victim", default="tiny")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--prompt", nargs="*", default=["a photo of sks person"])
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--people", type=Path, help="clean photos of several people, --photos among them")
    parser.add_argument("--faces", type=Path, help="folder of dlib's networks")
    parser.add_argument("--sheet", type=Path, help="where to save the pictures (PNG)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    photos, victim = read(args.photos), loading.load(args.victim, "cpu", args.dtype)
    module = None if args.attacker == "none" else methods.load("attackers", args.attacker)
    config = configured(module, args.preset, args.set, args.n) if module else Sampling(n=args.n)
    begun = time.process_time()
    pictures, loss = steal(photos, victim, args.attacker, config, args.prompt, args.seed)
    result: dict[str, Any] = {"cpu_seconds": round(time.process_time() - begun, 1), "loss": loss, "pictures": len(pictures)}
    if args.people and args.faces:
        person, describe = args.photos.resolve().relative_to(args.people.resolve()).parts[0], faces(args.faces)
        result |= matches(pictures, person, means(args.people, victim.size, describe), describe)
    if args.sheet:
        write_grid(args.sheet, pictures, 8)
    about = {"photos": str(args.photos), "n_photos": len(photos), "victim": f"{victim.name} {victim.weights}"}
    about |= {k: getattr(args, k) for k in ("attacker", "preset", "set", "prompt", "dtype", "threads", "seed")}
    print(json.dumps(about | result | {"config": asdict(config)}), flush=True)


if __name__ == "__main__":
    main()
