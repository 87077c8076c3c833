"""`tiny-dit`: a small MMDiT with flow matching in the 16-channel latents of our own `sd3` encoder,
on the photos and captions that `tiny` learned from.

The parts are those of a `StableDiffusion3Pipeline` without T5. Both text encoders exist: the tower
of `tiny-clip` and the tower of `tiny`, each with `tiny-clip`'s projection. In place of T5's tokens
such a pipeline gives the transformer 256 zeros. They are equal in every layer, so that training
gives it one, which counts 256 times in the attention: the same numbers for a third of the work.

Run: python training/dit.py --photos PHOTOS --model src/cloakwork/assets --work WORK --minutes 240
     (again after an interruption: it goes on)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import DEGRADATIONS, captions, photo_files, row_of, sampling_weights, to_unit, views
from diffusers import AutoencoderTiny, SD3Transformer2DModel
from loop import Run, autocast
from numpy.lib.format import open_memmap
from torch import Tensor
from transformers import CLIPModel, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from cloakwork.models.families import equal_tokens
from cloakwork.models.families.sd3 import T5_TOKENS

TOKENS = 32  # of a prompt, for each CLIP; the longest caption has 13
KINDS = ("clean", "close", *DEGRADATIONS)


def build() -> SD3Transformer2DModel:
    """9.4 million parameters; 64 tokens of a picture. The modulations and the last layer begin at
    zero, so that each block begins as the identity."""
    net = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=7,
        num_attention_heads=6,
        attention_head_dim=32,
        joint_attention_dim=384,
        caption_projection_dim=192,
        pooled_projection_dim=256,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    zero = [net.proj_out, net.norm_out.linear]
    for block in net.transformer_blocks:
        zero += [block.norm1.linear, block.norm1_context.linear]
    for layer in zero:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return net


def towers(model: Path) -> tuple[list[CLIPTextModelWithProjection], CLIPTokenizer]:
    """The two text encoders from the embedded models: `tiny-clip`'s and `tiny`'s own."""
    clip = CLIPModel.from_pretrained(model / "tiny-clip")
    config = clip.config.text_config
    config.projection_dim = clip.config.projection_dim
    found = []
    for text in (clip.text_model, CLIPTextModel.from_pretrained(model / "tiny" / "text_encoder")):
        tower = CLIPTextModelWithProjection(config).eval().requires_grad_(False)
        tower.text_model.load_state_dict(getattr(text, "text_model", text).state_dict())
        tower.text_projection.load_state_dict(clip.text_projection.state_dict())
        found.append(tower)
    return found, CLIPTokenizer.from_pretrained(model / "tiny-clip", model_max_length=TOKENS)


class Prompts:
    """Conditions of captions, each computed once: n x 33 x 384 (the last token is T5's zero) and n
    x 256."""

    def __init__(self, model: Path) -> None:
        self.towers, self.tokenizer = towers(model)
        self.cache: dict[str, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        new = sorted({t for t in texts if t not in self.cache})
        if new:
            ids = self.tokenizer(
                new, padding="max_length", truncation=True, return_tensors="pt"
            ).input_ids
            out = [tower(input_ids=ids, output_hidden_states=True) for tower in self.towers]
            tokens = torch.cat([o.hidden_states[-2] for o in out], -1)
            tokens, pooled = F.pad(tokens, (0, 0, 0, 1)), torch.cat([o.text_embeds for o in out], 1)
            self.cache.update(zip(new, zip(tokens.half(), pooled, strict=True), strict=True))
        found = [self.cache[t] for t in texts]
        return torch.stack([t for t, _ in found]).float(), torch.stack([p for _, p in found])


class Latents:
    """The latents of the four views of `data.py` of every photo, float16, and their caption kinds;
    made when a photo is first drawn, and kept in WORK."""

    def __init__(self, files: list[Path], model: Path, work: Path) -> None:
        self.files = files
        path, kinds = work / "latents-sd3.npy", work / "kinds-sd3.npy"
        mode = "r+" if kinds.exists() else "w+"
        self.latents = open_memmap(path, mode, np.float16, (len(files), 4, 16, 16, 16))
        self.kinds = open_memmap(kinds, mode, np.int8, (len(files), 4))  # 0: not made yet
        self.vae = AutoencoderTiny.from_pretrained(model / "encoders" / "sd3").eval()

    @torch.no_grad()
    def __call__(self, rows: np.ndarray, picked: np.ndarray) -> tuple[Tensor, list[str]]:
        """Latents n x 16 x 16 x 16 and caption kinds of one view of each photo."""
        for row in {int(r) for r in rows if not self.kinds[r].any()}:
            pixels, kinds = views(self.files[row])
            with autocast():
                z = self.vae.encode(to_unit(pixels) * 2 - 1).latents
            self.latents[row] = z.half().numpy()
            self.kinds[row] = [1 + KINDS.index(kind) for kind in kinds]
        kinds = [KINDS[k - 1] for k in self.kinds[rows, picked]]
        return torch.from_numpy(self.latents[rows, picked]).float(), kinds


def flow_loss(
    net: torch.nn.Module, z: Tensor, conditions: tuple[Tensor, Tensor], rng: torch.Generator
) -> Tensor:
    """Squared error of the velocity noise - z at times whose logit is normal, as Stable Diffusion 3
    learns."""
    sigma = torch.randn(len(z), generator=rng).sigmoid()
    noise = torch.randn(z.shape, generator=rng)
    mixed = z + sigma[:, None, None, None] * (noise - z)
    tokens, pooled = conditions
    with autocast():
        velocity = net(mixed, tokens, pooled, 1000 * sigma, return_dict=False)[0]
    return (velocity.float() - (noise - z)).square().mean()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder of the embedded models")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=240)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--steps", type=int, default=12_000, help="length of the schedule")
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    files = photo_files(args.photos)
    latents, prompts = Latents(files, args.model, args.work), Prompts(args.model)
    folders = [file.parent.name for file in files]
    weights = sampling_weights([row_of(i, file, []) for i, file in enumerate(files)])
    torch.manual_seed(2)
    net = build()
    equal_tokens.let_one_stand(net, T5_TOKENS)
    run = Run(
        args.work / "dit",
        net,
        lr=args.lr,
        steps=args.steps,
        minutes=args.minutes,
        ema=0.9995,
        muon=True,
    )
    for step in run:
        draw = np.random.default_rng([2, step])
        rows = draw.choice(len(files), args.batch, p=weights)
        # one in five is degraded, and says so
        picked = np.where(draw.random(args.batch) < 0.2, 3, draw.integers(0, 3, args.batch))
        z, kinds = latents(rows, picked)
        texts = [
            "" if draw.random() < 0.1 else str(draw.choice(captions(folders[row], kind)))
            for row, kind in zip(rows, kinds, strict=True)
        ]
        run.descend(flow_loss(net, z, prompts(texts), torch.Generator().manual_seed(step)))


if __name__ == "__main__":
    main()
