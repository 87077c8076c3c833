"""From checkpoints to the pipelines that the package carries, and back again.

Writes complete `StableDiffusionPipeline` folders (bf16, safetensors) that any diffusers code reads:

    OUT/model       AutoencoderKL    + UNet        OUT/clip            the whole CLIP and its
    tokenizer OUT/model-b     AutoencoderTiny  + small UNet  OUT/manifest.json   sha256 and size of
    each weight file, steps of each part OUT/pixels      the unconditional denoiser of pixels, a
    DDPMPipeline

EMA weights are taken where a training keeps them. A part without a checkpoint is named and left as
it is in OUT.

Run: python training/assemble.py --work WORK --out src/cloakwork/assets
     python training/assemble.py --work WORK --resume-from src/cloakwork/assets     (bf16 weights ->
     checkpoints to go on from)
     python training/assemble.py --work WORK --out src/cloakwork/assets --encoders   (the families'
     encoders alone)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import diffusers
import torch
from clip import PATCH
from clip import build as build_clip
from clip_pairs import PATCH as FINE_PATCH
from ddpm import build as build_ddpm
from ddpm import schedule as ddpm_schedule
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DDPMPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from encoders import TEACHERS
from encoders import build as build_encoder
from fold import read_vae, trained
from loop import checkpoint_from
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer
from unet import build as build_unet

PIPELINES = {"tiny": "tiny", "tiny-b": "tiny-b"}
LIMITS = {
    "tiny-pixels": 12e6,
    "encoders": 9e6,
    "protector": 10e6,
    "purifier": 2e6,
    "purifier_lasting": 2e6,
    "super_resolution": 1e6,
    "": 50e6,
}  # bytes of weight files: of a part of the package, and of all others
NETS = {"encoder": "vae", "decoder": "vae", "unet": "unet"}
PARTS = (
    {"clip": "tiny-clip", "clip-pairs": "tiny-clip", "ddpm": "tiny-pixels"}
    | {
        f"{net}-{name}": f"{place} of {name}"
        for name in PIPELINES.values()
        for net, place in NETS.items()
    }
    | {f"encoder-{name}": f"encoders/{name}" for name in TEACHERS}
    | {part: part for part in ("protector", "purifier", "purifier_lasting")}
    | {"super-resolution": "super_resolution"}
)
COMPONENTS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")


def read_unet(work: Path, name: str) -> UNet2DConditionModel | None:
    weights = trained(work / f"unet-{name}")
    if weights is None:
        return None
    unet = build_unet(name)
    unet.load_state_dict(weights)
    return unet.bfloat16()


def write_ddpm(work: Path, folder: Path) -> bool:
    """The denoiser of pixels; False where it has no checkpoint."""
    weights = trained(work / "ddpm")
    if weights is None:
        return False
    unet = build_ddpm()
    unet.load_state_dict(weights)
    save_net(unet.bfloat16(), folder / "unet")
    ddpm_schedule().save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return True


def write_encoder(work: Path, name: str, folder: Path) -> bool:
    """A family's encoder; False where it has no checkpoint."""
    weights = trained(work / f"encoder-{name}")
    if weights is None:
        return False
    torch.manual_seed(0)  # the decoder that nobody trains
    vae = build_encoder(name)
    vae.encoder.load_state_dict(weights)
    save_net(vae.bfloat16(), folder)
    return True


def read_clip(work: Path, stage: str) -> tuple[CLIPModel, CLIPTokenizer] | None:
    weights = trained(work / stage)
    if weights is None:
        return None
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    model = build_clip(tokenizer, FINE_PATCH if stage == "clip-pairs" else PATCH)
    model.load_state_dict(weights, strict=False)  # position_ids are a buffer, not a weight
    return model.bfloat16(), tokenizer


def write_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """tokenizer.json for current readers; vocab.json, merges.txt and added_tokens.json for those
    before transformers 5."""
    tokenizer.save_pretrained(folder)
    bpe = json.loads((folder / "tokenizer.json").read_text())
    vocabulary, merges = bpe["model"]["vocab"], bpe["model"]["merges"]
    added = {t["content"]: t["id"] for t in bpe["added_tokens"] if t["content"] not in vocabulary}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    lines = ["#version: 0.2", *(m if isinstance(m, str) else " ".join(m) for m in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    (folder / "added_tokens.json").write_text(json.dumps(added))


def save_net(
    net: AutoencoderKL
    | AutoencoderTiny
    | UNet2DConditionModel
    | UNet2DModel
    | CLIPModel
    | CLIPTextModel,
    folder: Path,
) -> None:
    """bf16 weights beside a config that loads as fp32 everywhere and in silence."""
    net.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    for part in (config, *(c for c in config.values() if isinstance(c, dict))):
        if (
            "dtype" in part
        ):  # transformers goes by it, diffusers loads as fp32: they must agree inside a pipeline
            part["dtype"] = "float32"
    if isinstance(net, AutoencoderTiny):
        del config[
            "block_out_channels"
        ]  # diffusers writes it and then warns about it at every load
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_text_encoder(clip: CLIPModel, folder: Path) -> None:
    """The text tower, its weights under the names that every version of transformers reads."""
    tower = CLIPTextModel(clip.config.text_config).bfloat16()
    tower.load_state_dict(clip.text_model.state_dict())
    save_net(tower, folder)
    path = folder / "model.safetensors"
    save_file({f"text_model.{k}": v for k, v in load_file(path).items()}, path, {"format": "pt"})


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )


def write_index(folder: Path, vae: str) -> None:
    index: dict = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
    }
    index |= {
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", vae],
    }
    index |= {
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    index |= {k: [None, None] for k in ("feature_extractor", "image_encoder", "safety_checker")} | {
        "requires_safety_checker": False
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def stage(work: Path, folder: Path) -> list[str]:
    """Write every component that has a checkpoint under `folder`; returns the names of those that
    have none."""
    missing = []
    clip = read_clip(work, "clip")  # what the UNets learned with
    judge = read_clip(work, "clip-pairs") or clip  # the same after its second stage
    if judge is None:
        missing.append("clip")
    else:
        save_net(judge[0], folder / "tiny-clip")
        write_tokenizer(judge[1], folder / "tiny-clip")
    for place, name in PIPELINES.items():
        for component, net in (("vae", read_vae(work, name)), ("unet", read_unet(work, name))):
            if net is None:
                missing.append(f"{component} of {name}")
            else:
                save_net(net, folder / place / component)
        if not (folder / place).exists():
            continue  # nothing of this pipeline has been trained yet
        if clip is not None:
            write_text_encoder(clip[0], folder / place / "text_encoder")
            write_tokenizer(clip[1], folder / place / "tokenizer")
        scheduler().save_pretrained(folder / place / "scheduler")
        write_index(folder / place, "AutoencoderKL" if name == "tiny" else "AutoencoderTiny")
    missing += [
        f"encoders/{name}"
        for name in TEACHERS
        if not write_encoder(work, name, folder / "encoders" / name)
    ]
    return missing if write_ddpm(work, folder / "tiny-pixels") else [*missing, "tiny-pixels"]


def install(staged: Path, out: Path) -> None:
    """Replace in `out` the component folders that were staged, each by a rename; the others
    stay."""
    for source in [
        staged / "tiny-clip",
        staged / "tiny-pixels",
        *(staged / "encoders" / name for name in TEACHERS),
        *(staged / place / c for place in PIPELINES for c in COMPONENTS),
    ]:
        if source.exists():
            target = out / source.relative_to(staged)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
    for place in PIPELINES:
        if (staged / place).exists() and all((out / place / c).exists() for c in COMPONENTS):
            os.replace(staged / place / "model_index.json", out / place / "model_index.json")


def write_manifest(work: Path, out: Path, missing: list[str]) -> int:
    """sha256 and bytes of each weight file, and how far each part was trained; returns the bytes of
    all weights.

    What an earlier manifest says of the parts of a missing component stays.
    """
    path = out / "manifest.json"
    parts = json.loads(path.read_text())["parts"] if path.exists() else {}
    for part, component in PARTS.items():
        if component not in missing and (work / part / "record.json").exists():
            record = json.loads((work / part / "record.json").read_text())
            parts[part] = {k: record[k] for k in ("step", "steps", "lr", "cpu_seconds")}
    weights = {}
    for file in sorted(out.rglob("*.safetensors")):
        file.chmod(0o644)
        data = file.read_bytes()
        weights[str(file.relative_to(out))] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        }
    total = sum(w["bytes"] for w in weights.values())
    path.write_text(
        json.dumps({"weight_bytes": total, "parts": parts, "weights": weights}, indent=1) + "\n"
    )
    return total


def check(out: Path) -> None:
    """Load what was written as anybody would, and sample from it; ends the program with a sentence
    on the first fault."""
    for place in PIPELINES:
        folder = out / place
        if not (folder / "model_index.json").exists():
            continue
        for cls, component in ((UNet2DConditionModel, "unet"), (CLIPTextModel, "text_encoder")):
            _, info = cls.from_pretrained(folder / component, output_loading_info=True)
            if info["missing_keys"] or info["unexpected_keys"]:
                raise SystemExit(f"{folder / component}: keys do not fit: {info}")
        pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
        pipe.set_progress_bar_config(disable=True)
        rng = torch.Generator().manual_seed(0)
        picture = pipe(
            "a photo of a person", num_inference_steps=5, generator=rng, output_type="pt"
        ).images
        if tuple(picture.shape) != (1, 3, 128, 128) or not torch.isfinite(picture).all():
            raise SystemExit(f"{folder} does not sample: pictures of shape {tuple(picture.shape)}")
        print(f"{folder} loads and samples")
    for folder in sorted((out / "encoders").glob("*")):
        vae = AutoencoderTiny.from_pretrained(folder)
        shape = tuple(vae.encode(torch.zeros(1, 3, 64, 96)).latents.shape)
        if shape != (1, vae.config.latent_channels, 8, 12):
            raise SystemExit(f"{folder} does not encode: latents of shape {shape}")
        print(f"{folder} loads and encodes")
    if (out / "tiny-pixels").exists():
        pixels = DDPMPipeline.from_pretrained(out / "tiny-pixels")(
            num_inference_steps=2, output_type="np"
        ).images
        print(f"{out / 'pixels'} loads and samples, {pixels.shape[1:]}")


def resume(out: Path, work: Path) -> None:
    """Checkpoints (weights as model and EMA, no moments) from committed weights; a checkpoint that
    exists is left alone."""
    parts = json.loads((out / "manifest.json").read_text())["parts"]
    curves = Path(__file__).parent / "curves.json"
    known = json.loads(curves.read_text()) if curves.exists() else {}
    nets: dict[str, nn.Module] = {"clip": CLIPModel.from_pretrained(out / "tiny-clip")}
    if "clip-pairs" in parts:
        nets["clip-pairs"] = nets["clip"]
        # of the first stage the text tower alone was kept, which is all that the UNets need
        nets["clip"] = build_clip(CLIPTokenizer.from_pretrained(out / "tiny-clip"))
        nets["clip"].text_model.load_state_dict(
            CLIPTextModel.from_pretrained(out / "tiny" / "text_encoder").state_dict()
        )
    for place, name in PIPELINES.items():
        cls = AutoencoderKL if name == "tiny" else AutoencoderTiny
        if (out / place / "vae").exists():
            vae = cls.from_pretrained(out / place / "vae")
            nets |= {f"encoder-{name}": vae.encoder, f"decoder-{name}": vae.decoder}
        if (out / place / "unet").exists():
            nets[f"unet-{name}"] = UNet2DConditionModel.from_pretrained(out / place / "unet")
    if (out / "tiny-pixels").exists():
        nets["ddpm"] = UNet2DModel.from_pretrained(out / "tiny-pixels" / "unet")
    for folder in (out / "encoders").glob("*"):
        nets[f"encoder-{folder.name}"] = AutoencoderTiny.from_pretrained(folder).encoder
    CLIPTokenizer.from_pretrained(out / "tiny-clip").save_pretrained(work / "tokenizer")
    for part, net in nets.items():
        folder = work / part
        kept = folder / "record.json"
        record = parts[part] | {"curve": known.get(part, {}).get("curve", [])}
        if kept.exists():
            record = json.loads(kept.read_text())
        if not checkpoint_from(folder, dict(net.named_parameters()), record):
            print(f"{part}: has a checkpoint, left alone")
            continue
        print(f"{part}: step {parts[part]['step']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="where the pipelines go")
    parser.add_argument(
        "--resume-from", type=Path, help="a folder written by --out, to rebuild checkpoints from"
    )
    parser.add_argument(
        "--encoders",
        action="store_true",
        help="write the families' encoders alone, and the manifest of what is there",
    )
    args = parser.parse_args()
    if (args.out is None) == (args.resume_from is None):
        parser.error("give one of --out and --resume-from")
    if args.resume_from:
        return resume(args.resume_from, args.work)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out.parent) as folder:
        missing = [] if args.encoders else stage(args.work, Path(folder))
        install(Path(folder), args.out)
    for name in TEACHERS if args.encoders else ():
        write_encoder(args.work, name, args.out / "encoders" / name)
    total = write_manifest(args.work, args.out, missing)
    check(args.out)
    if missing:
        print("no checkpoint yet: " + ", ".join(missing))
    sizes = {
        part: sum(f.stat().st_size for f in (args.out / part).rglob("*.safetensors"))
        for part in LIMITS
        if part
    }
    sizes[""] = total - sum(sizes.values())
    print(f"{args.out}: {total / 1e6:.1f} MB of weights")
    for part, size in sizes.items():
        if size >= LIMITS[part]:
            raise SystemExit(
                f"{part or 'All other parts'}: {size / 1e6:.1f} MB of weights; "
                f"less than {LIMITS[part] / 1e6:.0f} MB may be committed."
            )


if __name__ == "__main__":
    main()
