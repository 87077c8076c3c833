"""`cloakwork purify`: folders in, folders out, at the photos' own size, and how near the originals
they come."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cloakwork import cli, specs
from cloakwork.errors import UserError
from cloakwork.evaluation.compute import photos
from cloakwork.evaluation.photo_pairs import find_subjects
from cloakwork.evaluation.steps import Workspace, purify_steps
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float
from cloakwork.purifiers import codesr, jpeg, noise, resize
from cloakwork.workflows import protect
from cloakwork.workflows import purify_set as purifying
from cloakwork.workflows.purify import purify


@pytest.fixture
def folder(tmp_path: Path, sample_files: list[Path]) -> Path:
    found = tmp_path / "photos"
    (found / "more").mkdir(parents=True)
    for file, place in zip(sample_files, (found, found, found / "more"), strict=True):
        (place / file.name).write_bytes(file.read_bytes())
    return found


def test_from_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pure"
    assert (
        cli.main(
            [
                "purify",
                str(folder),
                "-o",
                str(out),
                "--purifier",
                "jpeg:quality=50+resize:scale=0.5",
            ]
        )
        == 0
    )
    assert "LPIPS" in capsys.readouterr().out
    for file in folder.rglob("*.png"):
        pixels = as_float(load_photo(file).pixels)
        pixels = jpeg.purify([pixels], None, jpeg.Config(quality=50), rng=torch.Generator())
        (want,) = resize.purify(pixels, None, resize.Config(scale=0.5), rng=torch.Generator())
        assert torch.allclose(
            as_float(load_photo(out / file.relative_to(folder)).pixels), want, atol=1e-6
        )
    record = json.loads((out / ".cloakwork" / "purified.json").read_text())
    assert [p["name"] for p in record["purifiers"]] == ["jpeg", "resize"] and len(
        record["photos"]
    ) == 2
    assert (out / ".cloakwork" / "more" / "sheet.png").is_file()


def test_originals_are_known_from_the_records(folder: Path, tmp_path: Path) -> None:
    protect.protect(folder, tmp_path / "safe", protection="noise", surrogates=())
    for rows in (
        purify(tmp_path / "safe", tmp_path / "a", purifiers=[("tvm", None)]),
        purify(tmp_path / "safe", tmp_path / "b", purifiers=[("tvm", None)], clean=folder),
    ):
        assert len(rows) == 3 and all(row.original for row in rows)
        before, after = (
            sum(v or 0 for v in values)
            for values in zip(*((r.lpips_before, r.lpips_after) for r in rows), strict=True)
        )
        assert 0 < after < before, "tvm takes noise away"
        own = [row.lpips_clean or 0 for row in rows]
        clean = purify(folder, tmp_path / "clean", purifiers="tvm", clean=folder, force=True)
        assert own == pytest.approx([row.lpips_after or 0 for row in clean]), "what it does itself"
        said = rows.summary.notes
        assert said[0].startswith(f"Nearer to the originals: LPIPS {before / 3:.3f} before")
        assert f"clean photos takes them {sum(own) / 3:.3f} from themselves" in said[1]


def test_originals_are_known_however_the_photos_are_named(folder: Path, tmp_path: Path) -> None:
    protect.protect(folder, tmp_path / "safe", protection="noise", surrogates=())
    first = min(f.name for f in folder.glob("*.png"))
    for i, named in enumerate((f"safe/{first}", "safe/*.png", "safe/more")):
        rows = purify(tmp_path / named, tmp_path / f"{i}")
        assert rows and all(row.original for row in rows), named


def test_without_originals_nothing_is_claimed(folder: Path, tmp_path: Path) -> None:
    rows = purify(folder, tmp_path / "pure")
    assert all(row.original is row.lpips_before is row.lpips_after is None for row in rows)


def test_originals_may_be_named_later(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["purify", str(folder), "-o", str(tmp_path / "pure")]
    assert cli.main(words) == 0
    assert "LPIPS is blank where no original is known" in capsys.readouterr().out
    bytes_before = {f: f.read_bytes() for f in (tmp_path / "pure").glob("*.png")}
    assert cli.main([*words, "--clean", str(folder)]) == 0
    assert "LPIPS is blank" not in capsys.readouterr().out
    kept = json.loads((tmp_path / "pure" / ".cloakwork" / "purified.json").read_text())
    assert all(row["lpips_before"] == 0 < row["lpips_after"] for row in kept["photos"])
    assert {f: f.read_bytes() for f in bytes_before} == bytes_before


def test_an_original_that_has_changed_is_not_compared_with(folder: Path, tmp_path: Path) -> None:
    protect.protect(folder, tmp_path / "safe", protection="noise", surrogates=())
    first = min(folder.glob("*.png"))
    with Image.open(first) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(first)
    rows = purify(tmp_path / "safe", tmp_path / "pure")
    assert [row.name for row in rows if row.original is None] == [first.name]
    with pytest.raises(UserError, match=f"{first.name} has changed since .* was made from it"):
        find_subjects(tmp_path / "safe")


def test_a_damaged_record_is_named(folder: Path, tmp_path: Path) -> None:
    protect.protect(folder, tmp_path / "safe", protection="noise", surrogates=())
    purify(folder, tmp_path / "pure")
    for damage in ("", "{", "[]", '{"photos": [{}]}'):
        (tmp_path / "safe" / ".cloakwork" / "record.json").write_text(damage)
        with pytest.raises(UserError, match=r"record\.json is damaged"):
            purify(tmp_path / "safe", tmp_path / "out")
        with pytest.raises(
            UserError, match="exists already"
        ):  # nobody knows any longer who wrote them
            protect.protect(folder, tmp_path / "safe", protection="noise", surrogates=())
        (tmp_path / "pure" / ".cloakwork" / "purified.json").write_text(damage)
        with pytest.raises(UserError, match="exists already"):
            purify(folder, tmp_path / "pure")


def test_what_was_left_out_is_said(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.png").write_bytes(b"no photo")
    rows = purify(folder, tmp_path / "pure", skip_bad=True)
    assert len(rows) == 3 and "bad.png" in rows[0].notes[0]


def test_a_quality_out_of_range_is_said_before_anything_is_written(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="The quality 0 is out of range"):
        purify(folder, tmp_path / "pure", suffix=".jpg", quality=0)
    assert not (tmp_path / "pure").exists()


def test_an_interrupted_job_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, works = [], noise.purify

    def fails(photos, *rest, **more):
        calls.append(photos[0].shape)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return works(photos, *rest, **more)

    monkeypatch.setattr(noise, "purify", fails)
    with pytest.raises(KeyboardInterrupt):
        purify(folder, tmp_path / "a", purifiers=[("noise", None)])
    purify(folder, tmp_path / "a", purifiers=[("noise", None)])
    assert len(calls) == 4, "the first photo was done before"
    again = purify(folder, tmp_path / "a", purifiers=[("noise", None)])
    assert len(calls) == 4 and len(again) == 3
    monkeypatch.undo()
    whole = purify(folder, tmp_path / "b", purifiers=[("noise", None)])
    assert [r.sha256 for r in whole] == [r.sha256 for r in again]


@pytest.mark.parametrize("where", ["_compared", "write_tensors", "end_saving"])
def test_a_job_stopped_after_a_photo_goes_on(
    where: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of it is written by then: outputs are known as the job's own."""
    out, works = tmp_path / "a", getattr(purifying, where)
    purify(folder, tmp_path / "b", purifiers="noise")
    calls = []

    def stops(*given, **how):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return works(*given, **how)

    monkeypatch.setattr(purifying, where, stops)
    with pytest.raises(KeyboardInterrupt):
        purify(folder, out, purifiers="noise")
    monkeypatch.undo()
    purify(folder, out, purifiers="noise")
    assert names_below(out) == names_below(tmp_path / "b")
    for file in names_below(out):
        if file.endswith("purified.json"):
            assert json.loads((out / file).read_text())["photos"]
        elif not file.endswith("timings.json"):
            assert (out / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert not [f for f in names_below(out) if "draws" in f or "saving" in f or "part" in f]


def test_outputs_of_other_names_are_not_a_stopped_jobs_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purifying, "_compared", stop)
    with pytest.raises(KeyboardInterrupt):
        purify(folder, tmp_path / "out")
    monkeypatch.undo()
    mine = tmp_path / "out" / next(folder.glob("*.png")).with_suffix(".jpg").name
    mine.write_bytes(b"mine")
    with pytest.raises(UserError, match=f"{mine.name} exists already"):
        purify(folder, tmp_path / "out", suffix=".jpg")


def stop(*given):
    raise KeyboardInterrupt


def names_below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_what_a_second_interruption_leaves(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos done before it stay known, those too that it did not come to."""
    made, works = {}, noise.purify

    def fails(photos, *rest, **more):
        made[photos[0].shape] = made.get(photos[0].shape, 0) + 1
        if breaks:
            raise KeyboardInterrupt
        return works(photos, *rest, **more)

    monkeypatch.setattr(noise, "purify", fails)
    breaks = False
    files = [folder / f"{i}.png" for i in range(3)]
    for i, file in enumerate(files):
        Image.fromarray(np.full((64, 64 + i, 3), 99, np.uint8)).save(file)
    for file in (folder / "more").iterdir():
        file.unlink()
    with monkeypatch.context() as at_the_end, pytest.raises(KeyboardInterrupt):
        at_the_end.setattr(purifying, "contact_sheet", stop)
        purify(folder, tmp_path / "out", purifiers=[("noise", None)])
    for name in ("0.png", "1.png"):
        (tmp_path / "out" / name).unlink()
    breaks = True
    with pytest.raises(KeyboardInterrupt):
        purify(folder, tmp_path / "out", purifiers=[("noise", None)])
    breaks = False
    assert len(purify(folder, tmp_path / "out", purifiers=[("noise", None)])) == 5
    assert made[3, 64, 66] == 1 and made[3, 64, 64] == 3


def test_photos_too_small_are_named_before_anything_is_written(tmp_path: Path) -> None:
    for name, size in (("a", (130, 128)), ("b", (100, 90)), ("c", (90, 300))):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.new("RGB", size, (90, 120, 60)).save(tmp_path / "in" / f"{name}.png")
    with pytest.raises(UserError) as caught:
        purify(
            tmp_path / "in", tmp_path / "out", purifiers=[("jpeg", None), ("latent_diffpure", None)]
        )
    assert [s.partition(": A photo is ")[2][:12] for s in caught.value.sentences] == [
        "100 x 90 px,",
        "90 x 300 px,",
    ]
    assert "b.png" in caught.value.sentences[0] and not list((tmp_path / "out").rglob("*.*"))


def test_other_weights_of_a_network_are_another_job(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that the purifier finds by itself, too."""
    weights = tmp_path / "face.safetensors"
    monkeypatch.setattr(codesr, "purify", lambda photos, *_, **__: photos)
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        config = codesr.Config(codeformer=str(weights))
        assert len(purify(folder, tmp_path / content.decode(), purifiers=[("codesr", config)])) == 3
    with pytest.raises(UserError, match="exists already"):
        purify(folder, tmp_path / "one", purifiers=[("codesr", config)])
    hashed, instrument = [], codesr.instrument
    monkeypatch.setattr(codesr, "instrument", lambda cfg: hashed.append(cfg) or instrument(cfg))
    purify(folder, tmp_path / "two", purifiers=[("codesr", config)])
    assert len(hashed) == 1, "weights are read once a job, not once a photo"


def test_other_settings_do_not_overwrite(folder: Path, tmp_path: Path) -> None:
    purify(folder, tmp_path / "pure")
    kept = {f: f.read_bytes() for f in (tmp_path / "pure").rglob("*.png")}
    with pytest.raises(UserError, match=r"exists already; give --force"):
        purify(folder, tmp_path / "pure", purifiers=[("noise", None)])
    assert {f: f.read_bytes() for f in kept} == kept
    purify(folder, tmp_path / "pure", purifiers=[("noise", None)], force=True)
    assert any(f.read_bytes() != b for f, b in kept.items())


@pytest.mark.parametrize("said", [False, True])
def test_originals_are_never_overwritten(said: bool, folder: Path, tmp_path: Path) -> None:
    protect.protect(folder, tmp_path / "safe", protection="noise", surrogates=())
    before = {f: f.read_bytes() for f in folder.rglob("*.png")}
    with pytest.raises(UserError, match="is an original, which is never overwritten") as caught:
        purify(tmp_path / "safe", folder, clean=folder if said else None, force=True)
    assert len(caught.value.sentences) == 3 and {f: f.read_bytes() for f in before} == before


def test_two_photos_alike_are_two_photos(folder: Path, tmp_path: Path) -> None:
    first = sorted(folder.glob("*.png"))[0]
    (folder / "again.png").write_bytes(first.read_bytes())
    purify(folder, tmp_path / "out")
    (tmp_path / "out" / "again.png").unlink()
    purify(folder, tmp_path / "out")
    assert (tmp_path / "out" / "again.png").is_file()


def test_an_original_of_another_size_is_not_compared_with(folder: Path, tmp_path: Path) -> None:
    for file in folder.rglob("*.png"):
        target = tmp_path / "clean" / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as picture:
            picture.resize((99, 98)).save(target)
    rows = purify(folder, tmp_path / "out", clean=tmp_path / "clean")
    assert all(row.lpips_before is None for row in rows)


def test_names_change_nothing(folder: Path, tmp_path: Path) -> None:
    """Photos of a set draw one after the other, in an order that their contents decide."""
    chain = [("noise", None), ("noise", None)]
    rows = purify(folder, tmp_path / "a", purifiers=chain)
    for i, file in enumerate(sorted(folder.glob("*.png"), reverse=True)):
        file.rename(folder / f"{i}-renamed.png")
    renamed = purify(folder, tmp_path / "b", purifiers=chain)
    assert {r.digest: r.sha256 for r in rows} == {r.digest: r.sha256 for r in renamed}


@pytest.mark.parametrize("text", ["noise+tvm:steps=5", "jpeg+noise"])
def test_an_audits_purifiers_give_the_same_bytes(
    text: str, sample_files: list[Path], tmp_path: Path
) -> None:
    """`purify` and the steps of an audit or a benchmark, of originals and of protected photos."""
    (tmp_path / "clean").mkdir()
    for file in sample_files:
        shutil.copy(file, tmp_path / "clean")
    protect.protect(tmp_path / "clean", tmp_path / "safe", protection="noise")
    (subject,) = find_subjects(tmp_path / "safe")
    workspace = Workspace(tmp_path / "store", "cpu")
    for name, source in (("clean", subject.clean), ("safe", subject.protected)):
        step = purify_steps(source, specs.purifiers(text), model="tiny", seed=5)
        by_audit = {f.stem: p for f, p in zip(source.files, photos(step, workspace), strict=True)}
        rows = purify(tmp_path / name, tmp_path / f"pure-{name}", purifiers=text, seed=5)
        assert len(rows) == 3
        for row in rows:
            assert torch.equal(as_float(load_photo(row.output).pixels), by_audit[row.output.stem])


def test_two_steps_of_a_chain_draw_for_themselves(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(tmp_path / "grey.png")
    one, two = (
        purify(tmp_path / "grey.png", tmp_path / str(n), purifiers=[("noise", None)] * n)[0].output
        for n in (1, 2)
    )
    loud = [as_float(load_photo(f).pixels).std().item() for f in (one, two)]
    assert loud[1] == pytest.approx(loud[0] * 2**0.5, rel=0.05), (
        "the same noise twice would be twice as loud"
    )


def test_transparency_and_large_photos_keep_their_pixels(tmp_path: Path) -> None:
    rgba = np.zeros((40, 1200, 4), np.uint8)
    rgba[..., 3], rgba[:, ::2, 0] = 77, 200
    Image.fromarray(rgba).resize((1200, 1100)).save(tmp_path / "large.png")
    (row,) = purify(tmp_path / "large.png", tmp_path / "out")
    photo = load_photo(row.output)
    assert (
        (row.width, row.height) == (1200, 1100)
        and photo.alpha is not None
        and (photo.alpha == 77).all()
    )


def test_no_purifier(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No purifier was named"):
        purify(folder, tmp_path / "out", purifiers=[])
