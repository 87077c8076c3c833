"""What a model takes, against the same counted where there are numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import of_all_workers
from helpers import small_families
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cloakwork.models import loading
from cloakwork.models.ldm import LDM
from cloakwork.workflows import needs


@pytest.mark.parametrize("name", small_families.FAMILIES)
def test_flops_are_those_of_a_real_gradient(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = small_families.save(name, of_all_workers(tmp_path_factory) / f"small-{name}")
    model = loading.load(str(folder), "cpu")
    x = torch.rand(1, 3, model.size, model.size, requires_grad=True)
    c, t = model.embed([""]), torch.full((1,), 500.0)
    # torch does not count a CPU's fused attention
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as real:
        torch.autograd.grad(model.predict(model.encode(x), t, c).sum(), x)
    assert 0.9 < needs.gradient_flops(model) / real.get_total_flops() < 1.1


def test_weights_are_those_in_memory(small: LDM, small_name: str) -> None:
    files = sum(file.stat().st_size for file in Path(small_name).glob("*/*.safetensors"))
    said = needs.sentence(small)
    assert f"{files / 1e9:.2g} GB of weights" in said and f"at {small.size} px" in said
