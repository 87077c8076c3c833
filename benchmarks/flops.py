"""FLOPs of a step of every protection on one photo, at the shapes of Stable Diffusion 1.4.

Run: python benchmarks/flops.py [--as before] [--file results/flops.json] [--only NAME ...]

A method's own code runs on meta tensors, which have shapes and no numbers: the second step that it
takes is counted, after it has done once what it does once. `--as` names the column, so that a
checkout of an earlier commit can fill another one of the same file. `python benchmarks/docs.py`
makes a table of it in docs/protections.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cloakwork import registry
from cloakwork.files import write_json
from cloakwork.finetuning.latent_dataset import LatentDataset
from cloakwork.finetuning.training import Training, train_steps
from cloakwork.models.counting import Flops
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import pgd, surrogates
from cloakwork.protections import fsmg, metacloak
from cloakwork.state import RunState
from cloakwork.types import Photos

META = torch.device("meta")
SEARCH, STEP = "a round of the search", "step"
MODEL_FREE = ("none", "noise")
OTHER_PRESETS = ("photoguard:diffusion",)  # whose step is another than that of `paper`


@dataclass(frozen=True)
class Shapes:
    """What the parts of a model are built by: arguments of their classes in diffusers and
    transformers."""

    vae: dict[str, Any]
    unet: dict[str, Any]
    text: dict[str, Any]
    size: int
    """side of a picture, pixels"""


LEVELS = {
    "down_block_types": 4 * ("DownEncoderBlock2D",),
    "up_block_types": 4 * ("UpDecoderBlock2D",),
}
# the UNet's other arguments are the defaults of its class
STABLE_DIFFUSION = Shapes(
    {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, **LEVELS},
    {"cross_attention_dim": 768},
    {
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
    512,
)


def build(shapes: Shapes) -> LDM:
    """A model of these shapes, of the real classes, in no memory."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with META:
        vae = AutoencoderKL(**shapes.vae)
        unet: Any = UNet2DConditionModel(**shapes.unet)
        text = CLIPTextModel(CLIPTextConfig(**shapes.text))
    for part in (vae, unet, text):
        part.eval().requires_grad_(False)
    return LDM("meta", vae, unet, text, Tokenizer(), DDPMScheduler(), "", shapes.size)


class Tokenizer:
    """Makes 77 tokens of every prompt."""

    model_max_length = 77

    def get_added_vocab(self) -> dict[str, int]:
        return {}

    def __call__(self, prompts: list[str], **_: Any) -> Any:
        ids = torch.ones(len(prompts), self.model_max_length, dtype=torch.long)
        return SimpleNamespace(input_ids=ids)


class Ones(TorchDispatchMode):
    """Whoever reads a number out of a meta tensor gets 1."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return True if args[0].dtype == torch.bool else 1
        if func is torch.ops.aten._to_copy.default and args[0].is_meta:
            if torch.device(kwargs.get("device") or META).type == "cpu":
                return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        return func(*args, **kwargs)


def count(compute: Callable[[], Any]) -> int:
    """FLOPs of what a function computes."""
    with Flops() as flops:
        compute()
    return flops.total


class _Counted(Exception):
    """What was wanted is known."""


# settings with which a method reaches its first PGD step at once
AT_ONCE = {
    "outer": 1,
    "clean_steps": 0,
    "adv_steps": 0,
    "lora_steps": 0,
    "class_images": 0,
    "surrogate_steps": 0,
    "K": 0,
    "J": 1,
    "M": 1,
    "B": 1,
    "purifiers": "none",
}


def of_protection(name: str, ldm: LDM, preset: str = "paper") -> dict[str, int]:
    """FLOPs of a PGD step, and of a round of the search where the method begins with one.

    `name` may hold a preset, as in photoguard:diffusion.
    """
    name, _, own = name.partition(":")
    preset = own or preset
    module = registry.load("protections", name)
    config = module.PRESETS[preset]
    at_once = {k: v for k, v in AT_ONCE.items() if hasattr(config, k) and getattr(config, k) != ""}
    config, counts = replace(config, **at_once), {}
    searches = hasattr(config, "outer") and hasattr(config, "steps") and name != "ace"

    def watch(x0: Photos, gradient: pgd.Gradient, **how: Any) -> Photos:
        what = SEARCH if searches and not counts else STEP
        if what == STEP:
            gradient(x0, [0])  # what a step does once, it does here
        counts[what] = count(lambda: gradient(x0, [0]))
        if what == STEP:
            raise _Counted
        return x0

    photo = torch.rand(3, ldm.size, ldm.size, device=META)
    with on_meta(), patch.object(pgd, "ascend", watch):
        try:
            module.protect(
                [photo],
                [ldm],
                config,
                clean=None,
                rng=torch.Generator().manual_seed(0),
                state=RunState(),
            )
        except _Counted:
            pass
    return counts


@contextmanager
def on_meta() -> Iterator[None]:
    """Let the package run where there are no numbers.

    Members of a pool come without files: their weights would be ones of full size.
    """

    def snapshots(theta: LDM, *_: Any) -> list[surrogates.Snapshot]:
        return [surrogates.Snapshot(theta, None, Path())]

    with ExitStack() as stack:
        stack.enter_context(Ones())
        # torch has none for meta tensors
        stack.enter_context(patch.object(LDM, "autocast", lambda self: nullcontext()))
        # nor a fused optimizer, whose arithmetic is a few FLOPs a weight
        stack.enter_context(patch.object(torch.optim.AdamW, "step", lambda self: None))
        for module in (fsmg, metacloak):
            stack.enter_context(patch.object(module, "make_snapshots", snapshots))
        for module in (fsmg, surrogates):
            stack.enter_context(patch.object(module, "load_file", lambda path: {}))
        yield


def of_training(ldm: LDM, *, prior: bool) -> int:
    """FLOPs of a surrogate's training step on one picture, and one of its class."""
    side = ldm.size // ldm.scale
    z = torch.empty(1, ldm.vae.config.latent_channels, side, side, device=META)
    subject, others = (LatentDataset(z, prompt) for prompt in ("a photo of sks person", "a photo"))
    theta, rng = ldm.copy(), torch.Generator().manual_seed(0)
    with on_meta():
        return count(
            lambda: train_steps(theta, subject, others if prior else None, Training(), 1, rng)
        )


def of_all(ldm: LDM, names: list[str]) -> Iterator[tuple[str, int]]:
    """FLOPs of every kind of step of these protections, and of a surrogate's training step."""
    for name in names:
        for what, flops in of_protection(name, ldm).items():
            said = name.replace(":", ", ")
            yield said if what == STEP else f"{said}, {what}", flops
    yield "training step", of_training(ldm, prior=False)
    yield "training step, with a class picture", of_training(ldm, prior=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--as", dest="column", default="now", choices=("before", "now"))
    parser.add_argument("--file", type=Path, default=Path("results/flops.json"))
    known = [name for name, _ in registry.listing("protections") if name not in MODEL_FREE]
    parser.add_argument("--only", nargs="*", default=[*known, *OTHER_PRESETS])
    args = parser.parse_args()
    for what, flops in of_all(build(STABLE_DIFFUSION), args.only):
        columns = json.loads(args.file.read_text()) if args.file.exists() else {}
        columns.setdefault(args.column, {})[what] = round(flops / 1e12, 3)
        write_json(args.file, columns)
        print(f"{what}: {flops / 1e12:.3f} TFLOP", flush=True)


if __name__ == "__main__":
    main()
