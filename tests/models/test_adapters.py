"""LoRA files added to models: the weights are the sum, whatever layout the file has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import of_all_workers
from helpers import small_families
from helpers.single_files import write
from safetensors.torch import load_file
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.models import loading, pipelines
from cloakwork.models.ldm import LDM

RANK, ALPHA = 4, 2.0
# part -> some of its layers; diffusers knows a file by the last layer of an encoder's attention
LAYERS = {
    "denoiser": (
        "mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
        "transformer_blocks.0.attn.to_k",
        "transformer_blocks.0.attn.to_out.0",
    ),
    "text_encoder": ("encoder.layers.0.self_attn.q_proj", "encoder.layers.0.self_attn.out_proj"),
    "text_encoder_2": ("encoder.layers.1.self_attn.out_proj", "encoder.layers.1.mlp.fc1"),
}


def matrices(model: LDM) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    """Return for layers of each part, by part and name, the two matrices of a LoRA."""
    rng, found = torch.Generator().manual_seed(3), {}
    for part in [part for part in LAYERS if part in model.networks]:
        for layer in LAYERS[part]:
            if is_there(model, part, layer):
                out, into = weight(model, part, layer).shape
                down, up = (torch.randn(*s, generator=rng) for s in ((RANK, into), (out, RANK)))
                found[part, layer] = down, up
    return found


def is_there(model: LDM, part: str, layer: str) -> bool:
    """A T5 is not trained, and has other layers."""
    return f"{layer}.weight" in dict(inside(model, part).named_parameters())


def weight(model: LDM, part: str, layer: str) -> Tensor:
    return inside(model, part).get_parameter(f"{layer}.weight")


def inside(model: LDM, part: str) -> Any:
    """Some encoders have a text_model around their layers."""
    return getattr(model.networks[part], "text_model", model.networks[part])


def kohya(model: LDM, file: Path) -> Path:
    """Write it as web UIs keep it: layers are those of a model's first release."""
    xl = "text_encoder_2" in model.networks
    starts = {"denoiser": "unet", "text_encoder": "te1" if xl else "te", "text_encoder_2": "te2"}
    tensors = {}
    for (part, layer), (down, up) in matrices(model).items():
        if part != "denoiser":
            layer = f"text_model.{layer}"
        elif layer.endswith("to_out.0"):
            layer = "double_blocks.0.img_attn.proj"
        elif layer.endswith("attn.to_k"):  # a third of one layer
            layer, none = "double_blocks.0.img_attn.qkv", torch.zeros_like(up)
            up = torch.cat([none, up, none])
        elif xl:
            layer = layer.replace("mid_block.attentions.0", "middle_block.1")
        name = f"lora_{starts[part]}_{layer.replace('.', '_')}"
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
    return write(tensors, file)


def diffusers(model: LDM, file: Path) -> Path:
    """Write it as diffusers and PEFT do, in which the alpha is the rank."""
    tensors = {}
    for (part, layer), (down, up) in matrices(model).items():
        denoiser = f"{model.family.DENOISER}.{layer}"
        name = denoiser if part == "denoiser" else f"{part}.text_model.{layer}"
        tensors |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    return write(tensors, file)


@pytest.fixture(scope="module")
def folders(small_name: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = of_all_workers(tmp_path_factory)
    others = {k: small_families.save(k, base / f"small-{k}") for k in ("sdxl", "sd3", "flux")}
    return {"sd": small_name, **{kind: str(folder) for kind, folder in others.items()}}


@pytest.mark.parametrize(
    ("family", "layout"),
    [(f, kohya) for f in ("sd", "sdxl", "flux")]
    + [(f, diffusers) for f in ("sd", "sdxl", "sd3", "flux")],
)
def test_the_weights_are_the_sum(
    family: str, layout: object, folders: dict[str, str], tmp_path: Path
) -> None:
    plain = loading.load(folders[family], "cpu")
    file = layout(plain, tmp_path / "style.safetensors")  # type: ignore[operator]
    scale = ALPHA / RANK if layout is kohya else 1
    model = loading.load(f"{folders[family]}+{file}", "cpu")
    for (part, layer), (down, up) in matrices(plain).items():
        added = weight(model, part, layer) - weight(plain, part, layer)
        assert torch.allclose(added, scale * up @ down, atol=1e-5)
    for part, network in model.networks.items():
        assert (
            dict(network.named_parameters()).keys()
            == dict(plain.networks[part].named_parameters()).keys()
        )
        assert not hasattr(network, "peft_config")
        assert not any(p.requires_grad for p in network.parameters())


def test_one_after_the_other_and_behind_a_single_file(
    folders: dict[str, str], tmp_path: Path
) -> None:
    plain = loading.load(folders["sd"], "cpu")
    one, two = (
        layout(plain, tmp_path / f"{layout.__name__}.safetensors") for layout in (kohya, diffusers)
    )
    model = loading.load(f"{folders['sd']}+{one}+{two}", "cpu")
    where = "denoiser", LAYERS["denoiser"][0]
    down, up = matrices(plain)[where]
    added = weight(model, *where) - weight(plain, *where)
    assert torch.allclose(added, (ALPHA / RANK + 1) * up @ down, atol=1e-5)
    names = [f"{folders['sd']}{more}" for more in ("", f"+{one}", f"+{two}", f"+{one}+{two}")]
    assert len({pipelines.weights(name) for name in names}) == 4
    assert model.weights == pipelines.weights(names[3])
    assert pipelines.without_network(names[3]) == names[3]


def test_what_is_no_lora_of_this_model_is_one_sentence(
    folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(file: Path) -> str:
        with pytest.raises(UserError) as error:
            loading.load(f"{folders['sd']}+{file}", "cpu")
        assert len(error.value.sentences) == 1
        assert "".join(capsys.readouterr()) == "", "diffusers says the same in its log"
        return str(error.value)

    def of(name: str, **shapes: int) -> str:
        return refusal(write({k: torch.zeros(2, n) for k, n in shapes.items()}, tmp_path / name))

    xl = loading.load(folders["sdxl"], "cpu")
    for layout in (kohya, diffusers):
        said = refusal(layout(xl, tmp_path / f"xl-{layout.__name__}.safetensors"))
        assert "The adapter" in said
    partly = load_file(diffusers(loading.load(folders["sd"], "cpu"), tmp_path / "d.safetensors"))
    strange = {k.replace("to_q", "to_w"): t.clone() for k, t in partly.items() if "to_q" in k}
    said = refusal(write(partly | strange, tmp_path / "e.safetensors"))
    assert "has 4 layers, of which 3 fit" in said and "a LoRA of another model" in said
    assert "is no LoRA: none of its 1 weights" in of("a.safetensors", weight=2)
    down = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"
    assert "is of a kind that cannot be used" in of(
        "b.safetensors", **{down: 2, down.replace("lora_down.weight", "dora_scale"): 2}
    )
    assert "is of a kind that cannot be used" in of("c.safetensors", **{"x.hada_w1_a": 2})
    cut = kohya(loading.load(folders["sd"], "cpu"), tmp_path / "cut.safetensors")
    cut.write_bytes(cut.read_bytes()[:-100])
    assert "could not be read" in refusal(cut)
    (tmp_path / "p.pt").write_bytes(b"x")
    assert "is a pickle" in refusal(tmp_path / "p.pt")
    (tmp_path / "p.txt").write_bytes(b"x")
    assert "is a file of another kind" in refusal(tmp_path / "p.txt")
