"""`tiny-dit` as a `StableDiffusion3Pipeline` folder (bf16, safetensors), and back to a checkpoint.

    OUT/transformer  OUT/vae  OUT/text_encoder  OUT/text_encoder_2  OUT/tokenizer  OUT/tokenizer_2
    OUT/scheduler  OUT/model_index.json  OUT/trained.json (steps and CPU seconds of each part)

The third text encoder, T5, is none. The VAE is an AutoencoderTiny with our own `sd3` encoder and
the decoder of `dit_decoder.py`.

Run: python training/dit_assemble.py --model src/cloakwork/assets --work WORK --out FOLDER
     python training/dit_assemble.py --resume-from FOLDER --work WORK
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import diffusers
import torch
from assemble import save_net, write_tokenizer
from diffusers import (
    AutoencoderTiny,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from dit import build, towers
from dit_decoder import build as build_decoder
from encoders import build as build_encoder
from fold import trained
from loop import checkpoint_from

PARTS = {"dit": "transformer", "decoder-dit": "vae"}
LIMIT = 30e6  # bytes of weight files


def read_vae(model: Path, work: Path) -> AutoencoderTiny:
    """The embedded encoder and the trained decoder in one autoencoder."""
    source, decoder = build_encoder("sd3").config, build_decoder().config
    kept = ("encoder_block_out_channels", "num_encoder_blocks", "latent_channels")
    vae = AutoencoderTiny(
        **{k: source[k] for k in kept},
        decoder_block_out_channels=decoder["decoder_block_out_channels"],
        num_decoder_blocks=decoder["num_decoder_blocks"],
    )
    encoder = AutoencoderTiny.from_pretrained(model / "encoders" / "sd3").encoder
    vae.encoder.load_state_dict(encoder.state_dict())
    vae.decoder.load_state_dict(trained(work / "decoder-dit") or {})
    return vae


def write(model: Path, work: Path, out: Path) -> None:
    """Write every component; ends the program where a training has no checkpoint yet."""
    for part in PARTS:
        if not (work / part / "state.safetensors").exists():
            raise SystemExit(f"{work / part} has no checkpoint yet.")
    net = build()
    net.load_state_dict(trained(work / "dit") or {}, strict=False)  # the positions are a buffer
    save_net(net.bfloat16(), out / "transformer")
    save_net(read_vae(model, work).bfloat16(), out / "vae")
    encoders, tokenizer = towers(model)
    for tower, end in zip(encoders, ("", "_2"), strict=True):
        save_net(tower.bfloat16(), out / f"text_encoder{end}")
        write_tokenizer(tokenizer, out / f"tokenizer{end}")
    # at this size the times need no shift towards noise
    FlowMatchEulerDiscreteScheduler(shift=1.0).save_pretrained(out / "scheduler")
    index: dict = {
        "_class_name": "StableDiffusion3Pipeline",
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }
    for end in ("", "_2"):
        index[f"text_encoder{end}"] = ["transformers", "CLIPTextModelWithProjection"]
        index[f"tokenizer{end}"] = ["transformers", "CLIPTokenizer"]
    for absent in ("text_encoder_3", "tokenizer_3", "image_encoder", "feature_extractor"):
        index[absent] = [None, None]
    (out / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    records = {part: json.loads((work / part / "record.json").read_text()) for part in PARTS}
    (out / "trained.json").write_text(json.dumps(records) + "\n")


def check(out: Path) -> None:
    """Sample from the folder as anybody would; ends the program with a sentence on a fault."""
    # diffusers takes the T5 as absent only where it is told so
    pipe = StableDiffusion3Pipeline.from_pretrained(out, text_encoder_3=None, tokenizer_3=None)
    pipe.set_progress_bar_config(disable=True)
    rng = torch.Generator().manual_seed(0)
    picture = pipe(
        "a photo of a person", num_inference_steps=4, generator=rng, output_type="pt"
    ).images
    if tuple(picture.shape) != (1, 3, 128, 128) or not torch.isfinite(picture).all():
        raise SystemExit(f"{out} does not sample: pictures of shape {tuple(picture.shape)}")
    size = sum(f.stat().st_size for f in out.rglob("*.safetensors"))
    print(f"{out} loads and samples, {size / 1e6:.1f} MB of weights")
    if size >= LIMIT:
        raise SystemExit(f"Less than {LIMIT / 1e6:.0f} MB may be committed.")


def resume(folder: Path, work: Path) -> None:
    """Checkpoints (bf16 weights as model and EMA, no moments) from a folder; one that exists is
    left alone."""
    records = json.loads((folder / "trained.json").read_text())
    nets = {
        "dit": SD3Transformer2DModel.from_pretrained(folder / "transformer"),
        "decoder-dit": AutoencoderTiny.from_pretrained(folder / "vae").decoder,
    }
    for part, net in nets.items():
        if not checkpoint_from(work / part, dict(net.named_parameters()), records[part]):
            print(f"{part}: has a checkpoint, left alone")
            continue
        print(f"{part}: step {records[part]['step']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="folder of the embedded models")
    parser.add_argument("--out", type=Path, help="where the pipeline goes")
    parser.add_argument("--resume-from", type=Path, help="a folder written by --out")
    args = parser.parse_args()
    if args.resume_from:
        return resume(args.resume_from, args.work)
    if not (args.model and args.out):
        parser.error("give --model and --out, or --resume-from")
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.model, args.work, args.out)
    check(args.out)


if __name__ == "__main__":
    main()
