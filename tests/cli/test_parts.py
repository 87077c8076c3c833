"""Models in single files and LoRAs, named on the command line."""

from __future__ import annotations

from pathlib import Path

import diffusers
import pytest
import torch
from helpers import single_files
from PIL import Image

from cloakwork import cli
from cloakwork.errors import UserError
from cloakwork.models import names, pipelines


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_a_photo_is_protected_against_a_single_file(
    small_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = diffusers.DiffusionPipeline.from_pretrained(small_name)
    file = single_files.write(single_files.sd1(pipe), tmp_path / "sd.safetensors")
    parts = single_files.without_weights(Path(small_name), tmp_path / "parts")
    Image.new("RGB", (128, 128), "teal").save(tmp_path / "a.png")
    job = [tmp_path / "a.png", "-o", tmp_path / "out", "--protection", "advdm", "--device", "cpu"]
    job += ["--steps", "1", "--surrogate", file]
    assert run("protect", *job) == 2
    assert "has no tokenizer; give --parts FOLDER" in capsys.readouterr().err
    assert run("protect", *job, "--parts", parts, "--dry-run") == 0
    assert not (tmp_path / "out").exists()
    assert run("protect", *job, "--parts", parts) == 0
    assert (tmp_path / "out/a.png").is_file()
    digest = pipelines.weights(f"{file}+{parts}")
    assert f"Computed against {file}+{parts} (weights {digest})" in " ".join(
        capsys.readouterr().out.replace("\n", "").split()
    )


def test_an_attacker_uses_a_single_file_with_a_lora(
    small_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = diffusers.DiffusionPipeline.from_pretrained(small_name)
    file = single_files.write(single_files.sd1(pipe), tmp_path / "sd.safetensors")
    parts = single_files.without_weights(Path(small_name), tmp_path / "parts")
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora"
    matrices = {f"{layer}_A.weight": torch.ones(4, 32), f"{layer}_B.weight": torch.ones(32, 4)}
    style = single_files.write(matrices, tmp_path / "style.safetensors")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (128, 128), "teal").save(tmp_path / "photos/a.png")
    found = []
    for victim in (file, f"{file}+{style}"):
        out = tmp_path / f"out-{len(found)}"
        job = [tmp_path / "photos", "-o", out, "--attacker", "sdedit:strengths=0.5,steps=2"]
        job += ["--victim", victim, "--parts", parts, "--no-clean", "--device", "cpu"]
        assert run("attack", *job) == 0, capsys.readouterr().err
        found.append(b"".join(f.read_bytes() for f in sorted(out.glob("*.png"))))
    assert found[0] and found[0] != found[1]


@pytest.mark.parametrize("command", ["protect", "attack", "purify"])
def test_parts_without_a_single_file_are_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, tmp_path, "-o", tmp_path / "out", "--parts", tmp_path) == 2
    assert "no model here is one; leave it out" in capsys.readouterr().err


def test_names_are_taken_apart_where_they_should_be(tmp_path: Path) -> None:
    (tmp_path / "a+b").mkdir()
    for file in ("a+b/c.safetensors", "d.safetensors"):
        (tmp_path / file).touch()
    file, more, parts = tmp_path / "a+b/c.safetensors", tmp_path / "d.safetensors", tmp_path / "a+b"
    assert names.parse(str(file)).file == file
    named = names.parse(f"{file}+{more}+{parts}")
    assert (named.file, named.parts, named.adapters) == (file, parts, (more,))
    assert names.parse(str(named)) == named
    assert names.parse(f"owner/name+{more}").model == "owner/name"
    assert names.parse("tiny").file is None
    assert names.with_parts(["tiny", f"{file}+{more}"], parts) == ["tiny", f"{file}+{parts}+{more}"]
    with pytest.raises(UserError, match="behind its \\+ already"):
        names.with_parts([f"{file}+{parts}"], parts)
    with pytest.raises(UserError, match="One folder may stand behind"):
        names.parse(f"{file}+{parts}+{tmp_path}")
