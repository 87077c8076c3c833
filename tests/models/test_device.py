"""The arithmetic that models compute in."""

import warnings

import pytest
import torch

from cloakwork.errors import UserError
from cloakwork.models import device

CPU = torch.device("cpu")


def test_a_dtype_without_instructions_is_warned_of_once(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    device._warn_of_imitation.cache_clear()
    with pytest.warns(UserWarning, match="no instructions for bfloat16.*Choose float32"):
        assert device.arithmetic("bfloat16", CPU) == torch.bfloat16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        device.arithmetic("bfloat16", CPU)


def test_nothing_is_said_where_the_processor_can(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    device._warn_of_imitation.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        device.arithmetic("bfloat16", CPU)
        device.arithmetic("float32", CPU)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(UserError, match="'int8' is not known; allowed are float32"):
        device.arithmetic("int8", CPU)


def test_a_macs_gpu_has_to_be_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.pick_device("auto") == CPU
