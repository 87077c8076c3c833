"""Steps, pairing and the audit's arithmetic, with an attacker and a metric that are quick: both are
modules of a user's."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cloakwork import cli, registry
from cloakwork.errors import UserError
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.design import (
    ARMS,
    CLEAN,
    PROTECTED,
    STEALTH,
    Subject,
    ThreatModel,
    arms,
    attack_step,
)
from cloakwork.evaluation.photo_pairs import find_subjects
from cloakwork.evaluation.statistics import Estimate
from cloakwork.evaluation.steps import Mix, Step, Workspace
from cloakwork.metrics._measure import Measurement
from cloakwork.photos.photo import load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import as_float
from cloakwork.specs import Method
from cloakwork.state import RunState
from cloakwork.workflows import audit, audit_purifiers, audit_sheet, audit_time
from cloakwork.workflows.audit_compare import _row, compare_all
from cloakwork.workflows.audit_results import (
    Audit,
    AuditRow,
    _sentence,
    conclusions,
    counted,
    worst_case,
)
from cloakwork.workflows.defaults import QUICK_ATTACKER
from cloakwork.workflows.inspect import inspect

ATTACKER = '''"""Copy the photos as the victim sees them, and add a little noise."""
from dataclasses import dataclass, field
import torch
from cloakwork.photos.preprocessing import preprocess
from cloakwork.models.sampling import Sampling
VERSION = 1
runs = []
@dataclass(frozen=True)
class Config:
    """Nothing but the number of pictures."""
    sampling: Sampling = field(default_factory=lambda: Sampling(n=4))
def attack(photos, victim, cfg, prompts, *, masks=None, rng, state):
    runs.append(len(photos))
    seen = preprocess(photos, victim.size)
    turn = [i % len(seen) for i in range(cfg.sampling.n * len(prompts))]
    noise = torch.randn((len(turn), 3, victim.size, victim.size), generator=rng)
    return (seen[turn] + 0.01 * noise).clamp(0, 1)
'''
METRIC = '''"""Mean brightness of a picture, 1/255."""
from dataclasses import dataclass
import torch
from cloakwork.registry import MetricInfo
VERSION = 1
METRIC = MetricInfo(
    scope="image", better="higher", range=(0, 255), unit="1/255", reference=None
)
@dataclass(frozen=True)
class Config:
    """Nothing to choose."""
def score(images, reference, prompts, cfg):
    return torch.stack([255 * x.mean() for x in images])
'''


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "modules" / "auditlab"
    package.mkdir(parents=True)
    for name, source in (
        ("__init__", ""),
        ("audit_copycat", ATTACKER),
        ("audit_brightness", METRIC),
    ):
        (package / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(package.parent))


@pytest.fixture
def folders(tmp_path: Path, sample_files: list[Path]) -> tuple[Path, Path]:
    """Protected (dimmed by 20/255, the second photo under another ending) and clean photos."""
    clean, protected = tmp_path / "clean", tmp_path / "protected"
    for folder in (clean, protected):
        folder.mkdir()
    for i, file in enumerate(sample_files):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        Image.fromarray(pixels).save(clean / f"{file.stem}.{'bmp' if i == 1 else 'png'}")
        Image.fromarray((pixels.astype(int) - 20).clip(0).astype(np.uint8)).save(
            protected / f"{file.stem}.png"
        )
    return protected, clean


def threat_model(**circumstances: object) -> ThreatModel:
    module = registry.load("attackers", "auditlab.audit_copycat")
    return ThreatModel(
        Method("attackers", "auditlab.audit_copycat", module.Config()), **circumstances
    )  # type: ignore[arg-type]


def one(folders: tuple[Path, Path]) -> Subject:
    return find_subjects(*folders)[0]


def test_an_audit_from_folder_to_report(
    folders: tuple[Path, Path], modules: None, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    (folders[0] / "film.mov").write_bytes(b"a film")
    (folders[1] / "raw.cr2").write_bytes(b"II*")
    named = replace(threat_model(), label="lab/one:steps=2 after jpeg")
    found = audit.audit(
        *folders[:1],
        out,
        clean=folders[1],
        threat_models=[named],
        metrics=["auditlab.audit_brightness"],
        seeds=2,
    )
    (row,) = found.rows
    bench, subject = Workspace(tmp_path / "store"), one(folders)
    before, after = (
        preprocess(compute.photos(s, bench), 128).mean((1, 2, 3))
        for s in (subject.clean, subject.protected)
    )
    assert row.against_clean.mean == pytest.approx(
        255 * (after - before)[[0, 1, 2, 0]].mean().item(), abs=0.2
    )
    assert row.against_clean.high < 0 and row.against_noise.high < 0
    assert (row.against_clean.sets, row.against_clean.seeds, row.against_clean.pictures) == (
        1,
        2,
        8,
    )
    assert found.stealth["linf"].mean == pytest.approx(20, abs=1)
    assert any("Indicative only: 1 photo set, 2 seeds" in s for s in found.sentences)
    assert "says nothing about other models" in found.sentences[-2]
    assert found.sentences[-1].endswith("that can be read here: raw.cr2, film.mov.")
    kept = json.loads((out / "audit.json").read_text())
    assert kept["rows"][0]["against_clean"]["mean"] == row.against_clean.mean
    assert kept["photos"]["protected"]["budget"] == 20
    assert [f.name for f in out.glob("*.png")] == ["protected-lab-one-steps=2-after-jpeg.png"]


def test_the_same_audit_again_computes_nothing_and_says_the_same(
    folders: tuple[Path, Path], modules: None, tmp_path: Path
) -> None:
    runs = registry.load("attackers", "auditlab.audit_copycat").runs
    runs.clear()
    first = audit.audit(
        folders[0],
        tmp_path / "a",
        clean=folders[1],
        threat_models=[threat_model()],
        metrics=["auditlab.audit_brightness"],
    )
    assert len(runs) == 3
    again = audit.audit(
        folders[0],
        tmp_path / "a",
        clean=folders[1],
        threat_models=[threat_model()],
        metrics=["auditlab.audit_brightness"],
    )
    assert len(runs) == 3 and again == first
    elsewhere = audit.audit(
        folders[0],
        tmp_path / "b",
        clean=folders[1],
        threat_models=[threat_model()],
        metrics=["auditlab.audit_brightness"],
    )
    assert len(runs) == 6 and elsewhere == first


def test_a_dry_run_says_what_is_left(
    folders: tuple[Path, Path], modules: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = registry.load("attackers", "auditlab.audit_copycat").runs
    runs.clear()
    words = ["audit", str(folders[0]), "-o", str(tmp_path / "out"), "--clean", str(folders[1])]
    words += [
        "--attacker",
        "auditlab.audit_copycat",
        "--purifier",
        "none",
        "--metrics",
        "auditlab.audit_brightness",
    ]
    assert cli.main([*words, "--dry-run"]) == 0 and not runs
    said = " ".join(capsys.readouterr().out.split())
    # three arms, of which noise is made, their scores, and how visible the protection is
    steps_of_all = 3 + 1 + 3 + len(STEALTH)
    assert f"audit: {steps_of_all} steps, 0 cached" in said
    assert f"{steps_of_all} steps have never been run" in said
    assert cli.main(words) == 0
    made = len(runs)
    capsys.readouterr()
    assert cli.main([*words, "--dry-run"]) == 0 and len(runs) == made
    said = capsys.readouterr().out
    assert f"{steps_of_all} cached" in said and "Nothing is left to do." in said
    assert cli.main([*words[:-1], "brigthness", "--dry-run"]) == 2


def test_a_quick_audit_says_how_long_it_takes_before_it_trains(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compute, "pictures", stop)

    def said(attacker: str | list[str], **more: object) -> list[str]:
        sentences: list[str] = []
        how = {"clean": folders[1], "attacker": attacker, "say": sentences.append}
        how = {**how, "purifiers": "none", **more}
        with pytest.raises(KeyboardInterrupt):
            audit.audit(folders[0], tmp_path / "report", **how)
        return sentences

    assert said(QUICK_ATTACKER) == [
        "This takes about 4 minutes on one core of a CPU: 3 attackers are trained."
    ]
    (longer,) = said(QUICK_ATTACKER, seeds=2, purifiers="jpeg")
    assert "about 7 minutes" in longer and "6 attackers" in longer
    assert longer.endswith("Purifiers take more.")
    assert said("dreambooth") == said([QUICK_ATTACKER, "lora"]) == []
    trained = iter([True, True, False])
    monkeypatch.setattr(audit_time, "cached", lambda *_: next(trained))
    (shorter,) = said(QUICK_ATTACKER)
    assert "about 2 minutes" in shorter
    assert shorter.endswith("1 attacker is trained, 2 of 3 were before.")
    monkeypatch.setattr(audit_time, "cached", lambda *_: True)
    assert said(QUICK_ATTACKER) == []


def test_nothing_protects_by_nothing(
    folders: tuple[Path, Path], modules: None, tmp_path: Path
) -> None:
    """The clean photos audited as their own protection: every difference is exactly 0."""
    found = audit.audit(
        folders[1],
        tmp_path / "r",
        clean=folders[1],
        threat_models=[threat_model()],
        metrics=["auditlab.audit_brightness"],
    )
    against = found.rows[0].against_clean
    assert (against.mean, against.low, against.high, against.p) == (0, 0, 0, 1)


def test_an_attacker_draws_the_same_noise_whatever_it_learns_from(
    folders: tuple[Path, Path], modules: None, tmp_path: Path
) -> None:
    bench, subject = Workspace(tmp_path / "store"), one(folders)
    got = {
        arm: compute.pictures(attack_step(arms(subject, 0)[arm], subject, threat_model(), 0), bench)
        for arm in (CLEAN, PROTECTED)
    }
    shift = got[CLEAN] - got[PROTECTED]
    inside = (got[PROTECTED] > 0.1) & (got[CLEAN] < 0.9)
    assert (shift[inside] * 255 - 20).abs().max() < 1.5


def test_seeds_and_circumstances_have_keys_of_their_own(
    folders: tuple[Path, Path], modules: None, tmp_path: Path
) -> None:
    bench, subject = Workspace(tmp_path / "store"), one(folders)
    photos = arms(subject, 0)[PROTECTED]

    def key(seed: int = 0, **circumstances: object) -> str:
        return steps.key(attack_step(photos, subject, threat_model(**circumstances), seed), bench)

    keys = [key(), key(1), key(prompts=("a cup",)), key(clean_share=0.4)]
    assert len(set(keys)) == 4 and key() == keys[0]


def test_an_attacker_calls_a_subject_by_its_noun(folders: tuple[Path, Path]) -> None:
    subject = replace(one(folders), noun="cat")
    config = registry.config(registry.load("attackers", "dreambooth"), "tiny")
    who = ThreatModel(
        Method("attackers", "dreambooth", config), prompts=("a photo of sks person", "a cup")
    )
    step = attack_step(subject.clean, subject, who, 0)
    assert step.prompts == ("a photo of sks cat", "a cup")
    assert (step.config.instance_prompt, step.config.class_prompt) == (
        "a photo of sks cat",
        "a photo of cat",
    )
    assert attack_step(subject.clean, one(folders), who, 0).config == config


def test_clean_photos_are_mixed_in(folders: tuple[Path, Path], tmp_path: Path) -> None:
    bench, subject = Workspace(tmp_path / "store"), one(folders)
    mixed = compute.photos(Step(Mix(1 / 3), (subject.protected, subject.clean)), bench)
    clean, protected = (
        compute.photos(subject.clean, bench),
        compute.photos(subject.protected, bench),
    )
    assert torch.equal(mixed[0], clean[0])
    assert all(torch.equal(a, b) for a, b in zip(mixed[1:], protected[1:], strict=True))


def test_a_protection_step_keeps_the_budget_on_eight_bits(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    bench, subject = Workspace(tmp_path / "store"), one(folders)
    noise = compute.photos(arms(subject, 3)["noise"], bench)
    gaps = [
        (a - b).abs().max() * 255
        for a, b in zip(noise, compute.photos(subject.clean, bench), strict=True)
    ]
    assert max(gaps).item() == pytest.approx(20, abs=1e-3)


def test_a_finished_step_leaves_no_checkpoint(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attacker's is larger than its model; an audit has dozens."""
    kept = []
    state = type(
        "Impatient",
        (RunState,),
        {"checkpoint": lambda *a: kept.append(a[0].path) or RunState.checkpoint(*a)},
    )
    monkeypatch.setattr(
        compute,
        "RunState",
        lambda path, label, progress: state(path, label, progress, checkpoint_seconds=0),
    )
    bench = Workspace(tmp_path / "store", "cpu")
    config = registry.load("protections", "photoguard").Config(steps=3)
    compute.photos(
        Step(Method("protections", "photoguard", config), (one(folders).clean,), 0, ("tiny",)),
        bench,
    )
    assert len(kept) == 3 and kept[0].name.endswith(".part.safetensors")
    assert not list((tmp_path / "store").rglob("*.part.safetensors"))


def test_a_failing_attacker_shows_nothing(folders: tuple[Path, Path]) -> None:
    flat = {"a": {0: [0.0, 0.0, 1.0, 0.0]}}
    row = _row(threat_of_nobody(), "match", {"clean": flat, "noise": flat, "protected": flat}, None)
    said = _sentence(row)
    assert "Inconclusive: this attacker fails even on clean photos" in said


def test_the_sentence_says_what_was_beaten() -> None:
    def match(rate: float) -> dict:
        return {
            f"s{i}": {0: [1.0] * round(16 * rate) + [0.0] * round(16 - 16 * rate)} for i in range(6)
        }

    tables = {"clean": match(0.875), "noise": match(0.75), "protected": match(0.25)}
    said = _sentence(_row(threat_of_nobody(), "match", tables, None))
    assert "match rate 0.88 clean, 0.75 noise, 0.25 protected" in said
    assert said.endswith("less than from clean photos and than from noise of the same budget.")
    tables["protected"] = match(0.75)
    said = _sentence(_row(threat_of_nobody(), "match", tables, None))
    assert said.endswith("less than from clean alone.")


def test_unscored_identity_is_said_once() -> None:
    nothing = {"a": {0: [math.nan] * 4}}
    tables, why = (
        {"clean": nothing, "noise": nothing, "protected": nothing},
        "No face was found in the clean photos.",
    )
    rows = [_row(threat_of_nobody(), name, tables, why) for name in ("match", "identity")]
    said = list(conclusions(Audit(rows, {}, [], ["a"], 1)))
    assert said[0] == f"match and identity are unscored: {why}" and " ".join(said).count(why) == 1
    assert any("unscored" in s for s in said[1:]) and all(
        math.isnan(row.against_clean.mean) for row in rows
    )


def match_rates(clean: float, noise: float, protected: float, sets: int = 6) -> Audit:
    """An audit of which nothing but the match rates is made up, 16 pictures a set."""
    rates = {"clean": clean, "noise": noise, "protected": protected}
    tables = {
        arm: {f"s{i}": {0: [float(k < round(16 * rate)) for k in range(16)]} for i in range(sets)}
        for arm, rate in rates.items()
    }
    row = _row(threat_of_nobody(), "match", tables, None)
    return Audit([row], {}, [], [f"s{i}" for i in range(sets)], 1)


@pytest.mark.parametrize(
    ("rates", "advice"),
    [
        ((0.875, 0.75, 0.0), None),
        ((0.125, 0.125, 0.0), "with more photos of the person"),
        ((0.75, 0.75, 0.75), "a larger --budget or another --protection"),
    ],
)
def test_what_to_do_next_where_nothing_is_shown(
    rates: tuple[float, float, float], advice: str | None
) -> None:
    said = [s for s in conclusions(match_rates(*rates)) if s.startswith("What to do next")]
    assert len(said) == (advice is not None) and all(advice in s for s in said if advice)


def test_the_verdict_counts_pictures() -> None:
    (verdict,) = counted(match_rates(0.875, 0.75, 0.0625, sets=1))
    assert verdict == (
        "Of 16 pictures that the attacker drew from protected photos, 1 shows the person; "
        "from clean photos 14 of 16; from noise of the same size 12 of 16."
    )
    two = replace(match_rates(1, 1, 0), verdicts=["One.", "Two."])
    assert two.summary.notes[:2] == ["One.", "Two."]


def rates(name: str, clean: float, protected: float) -> AuditRow:
    arms = {
        arm: Estimate(rate, 0, 1, 1, 1, 8)
        for arm, rate in zip(ARMS, (clean, clean, protected), strict=True)
    }
    change = Estimate(protected - clean, -1, 1, 1, 1, 8)
    return AuditRow(name, "tiny", "match", "higher", "", arms, change, change, change)


def test_the_worst_case_stands_first() -> None:
    rows = [rates("lean", 1, 0), rates("after a", 1, 0.5), rates("after b", 0.75, 0.5)]
    unknown = rates("after c", 1, math.nan)
    assert worst_case([*rows, unknown]) == "after b"  # as much as after a, of less
    assert worst_case(rows[:1]) == worst_case([unknown]) == ""
    told = list(counted(Audit(rows, {}, [], ["a set"], 1, worst="after b")))
    assert told[0].startswith("Worst case of 3, after b: Of 8 pictures that the attacker drew")
    assert [t.partition(":")[0] for t in told[1:]] == ["lean", "after a"]


def test_a_worst_case_that_noise_may_leave_as_well_is_told() -> None:
    rows = [rates("lean", 1, 0), rates("after a", 1, 0.5)]
    said = "The worst case, after a, is not shown to be less than from random noise"
    less = Estimate(-0.5, -0.7, -0.3, 1, 1, 8)
    shown = [rows[0], replace(rows[1], against_noise=less)]
    for found, told in ((rows, 1), (shown, 0)):
        audited = Audit(found, {}, [], ["a set"], 1, worst=worst_case(found))
        assert sum(s.startswith(said) for s in conclusions(audited)) == told


def test_an_audit_tries_the_usual_purifiers() -> None:
    threats = audit.attackers(["dreambooth", "lora"])
    assert [t.name for t in threats] == [
        f"{attacker}{after}"
        for after in ("", " after jpeg_and_resize", " after gridpure", " after codesr")
        for attacker in ("dreambooth", "lora")
    ]
    assert not threats[0].purifiers  # none is no purifier, and no step of its own
    assert [t.name for t in audit.attackers("lora", purifiers="none blur+resize")] == [
        "lora",
        "lora after blur+resize",
    ]
    (one,) = audit.attackers("lora", purifiers="")
    assert not one.purifiers


def test_purifiers_that_cannot_be_run_are_left_out(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    threats = audit.attackers("lora", purifiers="none gridpure jpeg codesr:upscaler=nowhere")
    bench, subject = Workspace(tmp_path / "store"), one(folders)
    left, notes = audit_purifiers.left_out(threats, [subject], bench)
    assert [t.name for t in left] == ["lora", "lora after gridpure", "lora after jpeg"]
    assert len(notes) == 1 and notes[0].startswith("The purifier codesr was not tried: ")
    file = tmp_path / "small.png"
    Image.new("RGB", (300, 40)).save(file)
    few = replace(subject, clean=replace(subject.clean, files=(*subject.clean.files, file)))
    _, notes = audit_purifiers.left_out(threats, [few], bench)
    assert notes[0] == (
        "The purifier gridpure was not tried: it works in squares of 64 px, and the smallest "
        "photo is only 40 px high or wide."
    )


def test_every_picture_on_the_sheet_has_its_mark(
    folders: tuple[Path, Path], modules: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticks where `match` says so, none where it was not measured; a real photo beside them."""
    subject, threat, workspace = one(folders), threat_model(), Workspace(tmp_path / "store")
    hits = {"clean": [1.0, 1, 0, 1], "noise": [1.0] * 4, "protected": [0.0] * 4}
    drawn: list[bool] = []
    monkeypatch.setattr(audit_sheet, "mark", lambda draw, corner, hit: drawn.append(hit))

    def score(step: Step, _: Workspace) -> Measurement:
        arm = next(
            arm
            for arm, photos in arms(subject, 0).items()
            if step.inputs[0] == attack_step(photos, subject, threat, 0)
        )
        return Measurement("match", hits[arm], None, "dlib", "higher", "share")

    monkeypatch.setattr(compute, "score", score)
    audit_sheet.sheet(subject, threat, ["match"], workspace, tmp_path / "a.png")
    assert drawn == [True, True, False, True, *[True] * 4, *[False] * 4]
    audit_sheet.sheet(subject, threat, ["clip_t"], workspace, tmp_path / "b.png")
    assert len(drawn) == 12
    real = np.asarray(Image.open(tmp_path / "a.png"))[40:168, 84:212] / 255
    seen = preprocess([as_float(load_photo(subject.references.files[0]).pixels)], 128)[0]
    assert np.abs(real - seen.permute(1, 2, 0).numpy()).max() < 0.01


def threat_of_nobody() -> ThreatModel:
    return ThreatModel(Method("attackers", "dreambooth", None))


def test_folders_that_do_not_pair_up_name_every_file(folders: tuple[Path, Path]) -> None:
    protected, clean = folders
    first = sorted(protected.iterdir())[0]
    first.rename(protected / "other.png")
    with pytest.raises(UserError) as caught:
        find_subjects(protected, clean)
    said = str(caught.value)
    assert (
        "other.png has no original" in said
        and f"{first.stem}" in said
        and "Name the two alike" in said
    )


def test_photos_of_another_size_are_named(folders: tuple[Path, Path]) -> None:
    protected, clean = folders
    first = sorted(protected.iterdir())[0]
    Image.open(first).resize((70, 66)).save(first)
    with pytest.raises(UserError, match="is 70 x 66 and its original"):
        find_subjects(protected, clean)


def test_without_records_the_clean_folder_is_asked_for(folders: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="Name the folder of the originals with --clean"):
        find_subjects(folders[0])


def test_records_know_the_originals(folders: tuple[Path, Path], tmp_path: Path) -> None:
    from cloakwork.workflows.protect import protect

    safe = tmp_path / "safe"
    protect([folders[1]], safe, protection="noise")
    (subject,) = find_subjects(safe)
    assert subject.budget == 11
    assert {f.parent for f in subject.clean.files} == {folders[1]}
    moved = tmp_path / "moved"
    safe.rename(moved)
    assert find_subjects(moved)[0].clean == subject.clean


def test_a_report_does_not_lie_among_photos(folders: tuple[Path, Path], tmp_path: Path) -> None:
    protected, clean = folders
    for out in (protected, protected / "report", clean):
        with pytest.raises(UserError, match="so results would become inputs"):
            audit.audit(protected, out, clean=clean)
        with pytest.raises(UserError, match="so results would become inputs"):
            inspect(protected, out, clean=clean)
    assert not (protected / "report").exists()


def test_a_mistyped_metric_is_told_before_the_first_training(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="did you mean 'match'"):
        audit.audit(*folders[:1], tmp_path / "report", clean=folders[1], metrics=["mach"])
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("flag", ["seeds", "threat_models"])
def test_an_audit_of_nothing_is_refused(
    folders: tuple[Path, Path], tmp_path: Path, flag: str
) -> None:
    bench = Workspace(tmp_path)
    with pytest.raises(UserError, match="at least one seed"):
        compare_all(
            [one(folders)],
            [] if flag == "threat_models" else [threat_of_nobody()],
            [],
            int(flag == "threat_models"),
            bench,
        )
