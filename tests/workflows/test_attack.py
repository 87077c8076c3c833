"""`attack` and `score`, called as a user calls the commands.

One attacker works on one folder; any pictures are measured.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cloakwork import cli, specs
from cloakwork.cli.common import ThreatFlags, read_prompts
from cloakwork.errors import UserError
from cloakwork.evaluation import steps
from cloakwork.models import loading
from cloakwork.models.ldm import LDM
from cloakwork.photos.sheets import attack_sheet
from cloakwork.protections import noise
from cloakwork.workflows import attack, protect, score


@pytest.fixture
def folder(tmp_path: Path, sample_files: list[Path]) -> Path:
    found = tmp_path / "photos"
    found.mkdir()
    for file in sample_files:
        (found / file.name).write_bytes(file.read_bytes())
    return found


QUICK = "dreambooth:tiny:steps=2,class-images=2,sampling.n=2,sampling.steps=2"


def test_attack_and_score_from_the_command_line(
    folder: Path, tmp_path: Path, small_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "attacked", tmp_path / "model"
    words = [
        "attack",
        str(folder),
        "-o",
        str(out),
        "--attacker",
        QUICK,
        "--victim",
        small_name,
        "--prompt",
        "a photo of sks cat",
    ]
    assert cli.main([*words, "--keep-model", str(model), "--device", "cpu"]) == 0
    assert "2 pictures in" in capsys.readouterr().out
    assert [f.name for f in sorted(out.glob("*"))] == [".cloakwork", "000.png", "001.png"]
    record = json.loads((out / ".cloakwork" / "attack.json").read_text())
    assert (
        record["config"]["steps"] == 2
        and record["prompts"] == ["a photo of sks cat"]
        and record["photos"] == sorted(str(f) for f in folder.iterdir())
    )
    assert (out / ".cloakwork" / "sheet.png").is_file() and (model / "model_index.json").is_file()
    assert not list((out / ".cloakwork").glob("state-*"))
    scores = tmp_path / "scores.json"
    words = [
        "score",
        str(out),
        "--clean",
        str(folder),
        "--metric",
        "clip_i,clip_t",
        "--prompt",
        "a photo of cat",
        "-o",
        str(scores),
    ]
    assert cli.main(words) == 0
    found = json.loads(scores.read_text())["metrics"]
    assert set(found) == {"clip_i", "clip_t"} and all(
        len(m["values"]) == m["scored"] == 2 for m in found.values()
    )


def test_the_sheet_says_which_prompt_gave_what(tmp_path: Path) -> None:
    grey = torch.linspace(0.1, 0.5, 18)[:, None, None, None].expand(-1, 3, 64, 64)
    attack_sheet(grey, ("a photo of sks cat", "a painting of sks cat"), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (2 * (24 + 2 * 64), 8 * 64, 3), (
        "nine pictures of each prompt, eight to a row"
    )
    written = pixels[:24], pixels[152:176]
    assert all(line.min() < 50 for line in written) and (written[0] != written[1]).any()
    assert (pixels[24:88, :64] == round(0.1 * 255)).all() and (pixels[176 + 64 :, 64:] == 255).all()


def test_the_same_attack_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    config = specs.parse("attackers", QUICK).config
    first, again = (
        attack.attack(folder, tmp_path / name, config=config, device="cpu") for name in "ab"
    )
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in again]


def test_less_memory_gives_the_same_bytes(
    folder: Path, tmp_path: Path, small_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spared: list[bool] = []

    def load(*given: Any, **how: Any) -> LDM:
        model = loading.load(*given, **how)
        spared.append(model.low_memory)
        return model

    monkeypatch.setattr(steps, "loading", SimpleNamespace(load=load))
    how: dict[str, Any] = {"attacker": QUICK, "victim": small_name, "device": "cpu"}
    usual, less = (
        attack.attack(folder, tmp_path / f"low-{low}", low_memory=low, **how)
        for low in (False, True)
    )
    assert spared == [False, True]
    assert [f.read_bytes() for f in usual] == [f.read_bytes() for f in less]


def test_the_originals_are_attacked_too(folder: Path, tmp_path: Path, small_name: str) -> None:
    """With the same seed; their pictures are on the sheet, and replaced like the others."""
    protect.protect(folder, tmp_path / "safe", protection="noise", surrogates=())
    how = {"attacker": QUICK, "victim": small_name, "prompts": ["a cat", "a dog"]}
    both, alone, plain = (tmp_path / name for name in ("both", "alone", "plain"))
    found = attack.attack(tmp_path / "safe", both, **how)
    attack.attack(folder, plain, **how)
    pictures = sorted((both / ".cloakwork/clean").iterdir())
    assert [f.name for f in pictures] == [f.name for f in found]
    assert len({f.read_bytes() for f in (*pictures, *found)}) == 8
    record = json.loads((both / ".cloakwork/attack.json").read_text())
    assert record["originals"] == sorted(str(f) for f in folder.iterdir())
    sizes = [Image.open(at / ".cloakwork/sheet.png").height for at in (both, plain)]
    assert sizes[0] == 2 * sizes[1] and "clean originals" in found.summary.notes[0]
    assert not (plain / ".cloakwork/clean").exists()
    left_out = attack.attack(tmp_path / "safe", alone, beside_clean=False, **how)
    assert [f.read_bytes() for f in left_out] == [f.read_bytes() for f in found]
    assert "without --no-clean" in left_out.summary.notes[0]
    attack.attack(tmp_path / "safe", both, beside_clean=False, **how)
    assert not (both / ".cloakwork/clean").exists()


def test_changed_originals_are_not_attacked(folder: Path, tmp_path: Path, small_name: str) -> None:
    protect.protect(folder, tmp_path / "safe", protection="noise", surrogates=())
    first = sorted(folder.iterdir())[0]
    Image.new("RGB", (128, 128)).save(first)
    found = attack.attack(tmp_path / "safe", tmp_path / "a", attacker=QUICK, victim=small_name)
    assert not found.summary.notes and not (tmp_path / "a/.cloakwork/clean").exists()


def test_metrics_of_change_pair_by_name(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in folder.iterdir():
        Image.open(file).convert("RGB").point(lambda v: max(0, v - 4)).save(
            changed / f"{file.stem}.bmp"
        )
    found = score.score(changed, clean=folder, metrics=[specs.parse("metrics", "linf")])
    assert found["linf"]["values"] == pytest.approx([4, 4, 4], abs=1e-3)
    next(iter(changed.iterdir())).rename(changed / "stranger.bmp")
    with pytest.raises(UserError, match=r"no original for stranger\.bmp"):
        score.score(changed, clean=folder, metrics=[specs.parse("metrics", "linf")])


def test_originals_are_known_from_the_records(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default five metrics of change, each with an arrow for what is better."""
    safe = tmp_path / "safe"
    config = noise.Config(budget=7)
    protect.protect(folder, safe, protection="noise", config=config)
    assert cli.main(["score", str(safe)]) == 0
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in x.split("│")[1:4]] for x in said.splitlines() if "│" in x]
    assert [row[:2] for row in rows] == [
        ["ciede2000", "↓"],
        ["linf", "↓"],
        ["lpips", "↓"],
        ["psnr", "↑"],
        ["ssim", "↑"],
    ]
    assert rows[1][2] == "7" and "the records beside the pictures name" in said
    for file, names in ((min(safe.glob("*.png")), 1), (safe, 3)):
        named = score.score(file, clean=folder if names == 3 else None)
        assert named["linf"]["values"] == pytest.approx([7] * names, abs=1e-3)


def test_originals_that_have_changed_are_not_compared_with(folder: Path, tmp_path: Path) -> None:
    protect.protect(folder, tmp_path / "safe", protection="noise")
    first = min(folder.iterdir())
    Image.new("RGB", Image.open(first).size).save(first)
    asked = [specs.parse("metrics", name) for name in ("linf", "clip_i")]
    found = score.score(tmp_path / "safe", metrics=asked)
    assert [math.isnan(v) for v in found["linf"]["values"]] == [True, False, False]
    assert round(found["linf"]["mean"], 3) == 11 and found["clip_i"]["scored"] == 3
    assert found["linf"]["reason"] == (
        f"The original of {first.name} is not known, or it has changed since. "
        "Name the originals with --clean."
    )


def test_originals_of_the_same_name_in_several_folders(folder: Path, tmp_path: Path) -> None:
    for grey, name in ((90, "a"), (190, "b")):
        for root, more in (("clean", 0), ("seen", grey // 30)):
            (tmp_path / root / name).mkdir(parents=True)
            picture = Image.new("RGB", (64, 64), (grey + more,) * 3)
            picture.save(tmp_path / root / name / "1.png")
    asked = [specs.parse("metrics", "linf")]
    found = score.score(tmp_path / "seen", clean=tmp_path / "clean", metrics=asked)
    assert found["linf"]["values"] == pytest.approx([3, 6], abs=1e-3)


@pytest.mark.parametrize(
    ("clean", "prompt", "expected"),
    [
        (False, None, ["brisque", "clip_iqa", "clip_iqac", "face_missing"]),
        (False, "a cat", ["brisque", "clip_iqa", "clip_iqac", "clip_t", "face_missing"]),
        (True, "a cat", ["clip_i", "clip_t", "face_missing", "identity", "match"]),
    ],
)
def test_without_originals_the_usual_metrics_need_none(
    clean: bool, prompt: str | None, expected: list[str], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    Image.open(min(folder.iterdir())).save(tmp_path / "pictures" / "000.png")
    found = score.score(tmp_path / "pictures", clean=folder if clean else None, prompt=prompt)
    assert list(found) == expected


def test_without_references_a_metric_is_unscored_and_says_why(folder: Path) -> None:
    found = score.score(folder, metrics=[specs.parse("metrics", "psnr")])
    assert (
        found["psnr"]["mean"] is None and found["psnr"]["scored"] == 0 and found["psnr"]["reason"]
    )


def test_specs_name_presets_and_nested_fields() -> None:
    method = specs.parse(
        "attackers", "dreambooth:paper:lr=1e-6,sampling.n=3,text-encoder=False,loader.blur=7"
    )
    config = method.config
    assert method.name == "dreambooth"
    assert (config.lr, config.sampling.n, config.sampling.steps) == (1e-6, 3, 100)
    assert (config.text_encoder, config.loader.blur) == (False, 7)
    assert [m.name for m in specs.purifiers("jpeg+blur")] == ["jpeg", "blur"]
    assert specs.purifiers("") == ()
    # a value may hold colons, and a purifier takes the preset for the model of its kind
    method = specs.parse(
        "protections", "adaptive:tiny:purifiers=none gridpure:iterations=1,steps=3"
    )
    config = method.config
    assert (method.name, config.steps) == ("adaptive", 3)
    assert config.purifiers == "none gridpure:iterations=1"
    assert specs.parse("purifiers", "jpeg:quality=40").config.quality == 40
    tiny, paper = (
        specs.purifiers("impress+gridpure+codesr", model) for model in ("tiny", "models/mine")
    )
    assert tiny[0].config.steps == 100 and paper[0].config.steps == 3000
    assert (
        tiny[1:] == paper[1:]
        and specs.purifiers("gridpure", "tiny", "models/pixels")[0].config.iterations == 20
    )


@pytest.mark.parametrize("spec", ["dreamboth", "dreambooth:tinny"])
def test_mistyped_specs_get_a_suggestion(spec: str) -> None:
    with pytest.raises(UserError, match="did you mean"):
        specs.parse("attackers", spec)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("stepps=3", "There is no field of dreambooth 'stepps'; did you mean 'steps'"),
        ("steps=many", "The field steps of dreambooth is 'many'. Allowed: a whole number"),
        ("sampling.m=3", "no field of dreambooth 'sampling.m'; did you mean 'sampling.n'"),
        ("lr=1,lr=2", "The field lr of dreambooth is given more than once. Give it once."),
        ("lr", "'lr' is a field of dreambooth, not a preset. Write dreambooth:lr=VALUE."),
        (
            "sampling=3",
            "The field sampling of dreambooth is '3'. "
            "Allowed: its own fields, such as n, after a dot",
        ),
    ],
)
def test_a_wrong_setting_of_a_spec_is_one_sentence(setting: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        specs.parse("attackers", f"dreambooth:{setting}")


def test_a_chain_names_the_purifier_that_is_wrong() -> None:
    assert specs.purifiers("jpeg + resize") == specs.purifiers([("jpeg", None), ("resize", None)])
    with pytest.raises(
        UserError, match=r"^resize: The field scale is 7\.0; allowed are 0\.001 to 1\.$"
    ):
        specs.purifiers("jpeg:quality=75+resize:scale=7")


def test_an_attack_replaces_pictures_of_attacks_alone(folder: Path, tmp_path: Path) -> None:
    out, photo = tmp_path / "attacked", next(folder.iterdir()).read_bytes()
    more = specs.parse("attackers", QUICK).config
    fewer = specs.parse("attackers", QUICK.replace("sampling.n=2", "sampling.n=1")).config
    out.mkdir()
    (out / "001.png").write_bytes(photo)
    with pytest.raises(UserError, match=r"001\.png was not written by `cloakwork attack`"):
        attack.attack(folder, out, config=fewer, device="cpu")
    assert (out / "001.png").read_bytes() == photo and len(list(out.iterdir())) == 1
    (out / "001.png").rename(out / "mine.png")
    attack.attack(folder, out, config=more, device="cpu")
    attack.attack(folder, out, config=fewer, device="cpu")
    assert sorted(f.name for f in out.glob("*.png")) == ["000.png", "mine.png"], (
        "those of a larger attack are gone"
    )


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"keep_model": "m"}, "trains nothing, so there is no model to keep"),
        ({"sample_every": -1}, "0 for never"),
        ({"mask": "mask.png"}, "'sdedit' paints in no mask"),
    ],
)
def test_an_attack_that_could_not_do_it_is_refused(
    asked: dict, says: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=says):
        attack.attack(folder, tmp_path / "attacked", attacker="sdedit", **asked)
    assert not (tmp_path / "attacked").exists()


def test_scores_replace_scores_alone(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    for mine in ("my letter", '{"metrics": 1}', "[1]"):
        file.write_text(mine)
        with pytest.raises(UserError, match="exists already and holds no scores"):
            score.score(folder, metrics=[specs.parse("metrics", "brisque")], out=file)
        assert file.read_text() == mine
    file.unlink()
    for _ in range(2):
        score.score(folder, metrics=[specs.parse("metrics", "brisque")], out=file)


def test_prompts_files_with_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text(
        "\n a photo of sks person \n\n\na dslr portrait of sks person\na photo of sks person\n"
    )
    assert read_prompts(ThreatFlags(prompts=file)) == (
        "a photo of sks person",
        "a dslr portrait of sks person",
    )
    file.write_text("\n  \n")
    with pytest.raises(UserError, match="holds no prompt"):
        read_prompts(ThreatFlags(prompts=file))
    with pytest.raises(UserError, match="cannot be read"):
        read_prompts(ThreatFlags(prompts=tmp_path / "none.txt"))


def test_several_sets_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "more").mkdir()
    file = next(f for f in folder.iterdir() if f.is_file())
    (folder / "more" / "x.png").write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="attack one at a time"):
        attack.attack(folder, tmp_path / "attacked")


def test_a_mask_of_another_size_is_refused(folder: Path, tmp_path: Path) -> None:
    Image.new("L", (70, 80), 255).save(tmp_path / "mask.png")
    with pytest.raises(UserError, match="70 x 80"):
        attack.attack(
            folder,
            tmp_path / "attacked",
            attacker="inpaint",
            mask=tmp_path / "mask.png",
            device="cpu",
        )


def test_a_stopped_attack_finds_no_model_of_its_own_in_its_way(
    folder: Path, small_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    def run() -> object:
        return attack.attack(
            *(folder, tmp_path / "out"),
            attacker="lora:steps=1,batch=1,class_images=1,sampling.n=1,sampling.steps=1",
            victim=small_name,
            keep_model=tmp_path / "model",
        )

    with monkeypatch.context() as near_the_end, pytest.raises(KeyboardInterrupt):
        near_the_end.setattr(attack, "write_beside", stop)
        run()
    assert not list(tmp_path.glob("*model*"))
    run()
    assert {p.name for p in tmp_path.glob("*model*")} == {"model"}
    assert list((tmp_path / "model").iterdir())
    with pytest.raises(UserError, match="model exists already; name a new folder"):
        run()
