"""`cloakwork check`: a sound method passes, and each fault gets one sentence."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from cloakwork import cli
from cloakwork.errors import UserError
from cloakwork.registry import user_modules
from cloakwork.workflows import check_module
from cloakwork.workflows.check import check

GUIDES = Path(__file__).parents[2] / "docs" / "how-to"
# each guide's complete example
EXAMPLES = {
    kind: re.findall("```python\n(.*?)```", (GUIDES / f"{page}.md").read_text("utf-8"), re.DOTALL)[
        0
    ]
    for kind, page in {
        "protections": "add_a_protection",
        "metrics": "add_a_metric",
        "purifiers": "add_a_purifier",
        "attackers": "add_an_attacker",
    }.items()
}
NO_MODEL = '''"""Pushes nothing."""
from dataclasses import dataclass
import random
import torch

VERSION = 1
USES_SURROGATES = False


@dataclass(frozen=True)
class Config:
    budget: float = 8
    """largest change of a pixel, 1/255"""
    steps: int = 4
    """steps"""


PRESETS = {"tiny": Config(), "paper": Config()}


def protect(photos, surrogates, cfg, *, clean, rng, state):
    made = [p.clone() for p in photos]
    return made
'''
LOOP = """first, saved = state.resume(rng)
    made = [saved[str(i)] for i in range(len(photos))] if saved else [p.clone() for p in photos]
    for k in range(first, cfg.steps):
        signs = [torch.randint(0, 2, p.shape, generator=rng) * 2 - 1 for p in made]
        made = [p + s * cfg.budget / 1020 for p, s in zip(made, signs)]
        made = [p.clamp(0, 1) for p in made]
        state.checkpoint(k + 1, cfg.steps, rng, lambda: {str(i): p for i, p in enumerate(made)})
    return made"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an empty package `check_lab` in it."""
    (tmp_path / "check_lab").mkdir()
    (tmp_path / "check_lab" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path / "check_lab"
    for name in [name for name in sys.modules if name.partition(".")[0] == "check_lab"]:
        del sys.modules[name]


def faults(lab: Path, text: str, **how: str) -> tuple[str, ...]:
    """Return what is found in a module of this text."""
    (lab / "mine.py").write_text(text)
    with pytest.raises(UserError) as error:
        check("check_lab.mine", **how)
    return error.value.sentences


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_the_guides_protection_keeps_the_contract(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the trained model, since its effect is looked for."""
    (lab / "mine.py").write_text(EXAMPLES["protections"])
    assert cli.main(["check", "check_lab.mine"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("check_lab.mine keeps the contract of the protections. Checked:")
    assert "latents' shift against random noise" in said


@pytest.mark.parametrize("kind", ["metrics", "purifiers", "attackers"])
def test_the_guides_other_examples_keep_it_too(kind: str, lab: Path, small_name: str) -> None:
    (lab / "mine.py").write_text(EXAMPLES[kind])
    assert check("check_lab.mine", surrogate=small_name).kind == kind


def test_a_loop_of_ones_own_keeps_the_contract(lab: Path) -> None:
    (lab / "mine.py").write_text(changed(NO_MODEL, "return made", LOOP))
    assert "interruption" in check("check_lab.mine").checks


IN_THE_MODULE = [
    ("protections", "VERSION = 1\n", "VERSION = '1'\n", "The module lacks VERSION"),
    ("protections", "@dataclass(frozen=True)", "@dataclass", "The module lacks Config (a frozen"),
    ("protections", '    """PGD steps"""\n', "", "The field steps of Config has no help."),
    ("protections", '"tiny": Config(steps=20), ', "", "PRESETS lacks tiny."),
    ("protections", '"paper": Config()', '"paper": 3', "The preset paper is a int;"),
    (
        "protections",
        "    step: float",
        '    seed: int = 0\n    """of mine"""\n    step: float',
        "The Config has fields that are flags",
    ),
    ("protections", "arXiv 0000.00000", "somewhere", "The docstring does not say what it is after"),
    ("protections", "Checked against", "Seen", "The docstring does not say what it was checked"),
    ("protections", "Departures: none.", "", "The docstring does not say where it departs"),
    ("protections", "clean: Photos | None,", "own: Photos | None,", "protect() does not take"),
    ("protections", "VERSION = 1", "SHIFT = 0.9\nVERSION = 1", "SHIFT is 0.9;"),
    ("protections", "VERSION = 1", "USES_SURROGATES = 1\nVERSION = 1", "USES_SURROGATES is 1;"),
    ("protections", "VERSION = 1", "SINGLY = 1\nVERSION = 1", "SINGLY is 1; allowed"),
    ("protections", "VERSION = 1", "NEEDS = 'vae'\nVERSION = 1", "NEEDS is 'vae'; allowed are"),
    ("protections", "VERSION = 1", "NEEDS = 'encoder if x=1'\nVERSION = 1", "NEEDS is 'encoder if"),
    ("purifiers", "VERSION = 1", "USES_MODEL = 'x'\nVERSION = 1", "USES_MODEL is 'x'; allowed"),
    ("attackers", "VERSION = 1", "TRAINS = 'yes'\nVERSION = 1", "TRAINS is 'yes'; allowed"),
    ("attackers", "VERSION = 1", "SAMPLES = True\nVERSION = 1", "SAMPLES is True and the Config"),
    ("metrics", 'scope="image"', 'scope="picture"', "METRIC.scope is 'picture'; allowed"),
    ("metrics", 'better=""', 'better="up"', "METRIC.better is 'up'; allowed"),
    ("metrics", "range=(0, 0.5)", "range=(1, 0)", "METRIC.range is (1, 0)."),
    ("metrics", "reference=None", 'reference="clean"', "METRIC.reference is 'clean'; allowed"),
]


@pytest.mark.parametrize(("kind", "old", "new", "sentence"), IN_THE_MODULE)
def test_a_fault_in_the_module_gets_one_sentence(
    kind: str, old: str, new: str, sentence: str, lab: Path
) -> None:
    (lab / "mine.py").write_text(changed(EXAMPLES[kind], old, new))
    found = check_module.faults(user_modules.find_module("check_lab.mine"), kind, {"seed", "out"})
    assert len(found) == 1 and found[0].startswith(sentence)


IN_A_RUN = [
    ("protections", "return made", "return made[:2]", "returned 2 photos for 3 photos."),
    ("protections", "return made", "return [p[:, 1:] for p in made]", "returned photo 1 of 3 as"),
    ("protections", "return made", "return [p * 0 / 0 for p in made]", "that are no numbers (NaN)"),
    ("protections", "return made", "return [p.byte() for p in made]", "photo 1 of 3 as uint8."),
    ("protections", "return made", "return [p + 2 for p in made]", "with values from 2.00 to"),
    (
        "protections",
        "return made",
        "return [(p - 14 / 255).clamp(0, 1) for p in made]",
        "changed a pixel by 14.0 of 255; its budget is 8.",
    ),
    ("protections", "return made", "photos[0][0] = 0\n    return made", "wrote to the photos"),
    (
        "protections",
        "return made",
        "return [(p - random.random() * cfg.budget / 255).clamp(0, 1) for p in made]",
        "gave something else when it ran again with the same seed.",
    ),
    (
        "protections",
        "return made",
        "return [p - p * torch.rand(()) * cfg.budget / 255 for p in made]",
        "gave something else when it ran again with the same seed.",
    ),
    (
        "protections",
        "return made",
        "return [(p - min(3, cfg.budget + 3) / 255).clamp(0, 1) for p in made]",
        "changed a pixel by 3.0 of 255; its budget is 0.",
    ),
    (
        "protections",
        "return made",
        "assert all(p.std() > 0 for p in made), 'flat'\n    return made",
        "raised AssertionError: flat (mine.py, line 23).",
    ),
    (
        "protections",
        "return made",
        changed(LOOP, "state.resume(rng)", "(0, {})"),
        "began again after an interruption",
    ),
    (
        "protections",
        "return made",
        changed(LOOP, "{str(i): p for", "{str(i): photos[i] for"),
        "gave other photos after an interruption.",
    ),
    ("metrics", "return torch", "return torch.zeros(2)\n    torch", "returned 2 numbers for 3"),
    ("metrics", "x.std(correction=0)", "x.mean() + 0.5", "outside METRIC.range (0 to 0.5)."),
    (
        "metrics",
        "return torch",
        "len(prompts)\n    return torch",
        "Given no prompts: The metric 'check_lab.mine' raised TypeError",
    ),
    ("purifiers", "return [", "return [p[:, 1:] for p in photos]\n    [", "returned photo 1 of 1"),
    ("attackers", "for _ in prompts]", "for _ in 'a']", "returned 3 pictures for 2 prompts."),
    (
        "attackers",
        "    return torch",
        "    next(victim.denoiser.parameters()).add_(1)\n    return torch",
        "changed the weights of the model",
    ),
]


@pytest.mark.parametrize(("kind", "old", "new", "sentence"), IN_A_RUN)
def test_a_fault_in_a_run_gets_one_sentence(
    kind: str, old: str, new: str, sentence: str, lab: Path, small_name: str
) -> None:
    text = NO_MODEL if kind == "protections" else EXAMPLES[kind]
    found = faults(lab, changed(text, old, new), surrogate=small_name)
    assert len(found) == 1 and sentence in found[0], found


def test_a_set_at_once_cannot_be_declared_single(lab: Path) -> None:
    text = changed(NO_MODEL, "return made", LOOP)
    (found,) = faults(lab, changed(text, "USES_SURROGATES", "SINGLY = True\nUSES_SURROGATES"))
    assert "declares SINGLY, and gave other photos one by one than together." in found


def test_no_better_than_noise_is_told(lab: Path, small_name: str) -> None:
    text = changed(EXAMPLES["protections"], "pgd.by_autograd(distance)", "lambda x, i: (0.0, x)")
    (found,) = faults(lab, text, surrogate=small_name)
    assert "times as far as random noise of the same budget does" in found
    assert found.endswith("or state a SHIFT of 1 or more with its reason.")


def test_faults_of_module_and_run_are_told_together(lab: Path) -> None:
    text = changed(changed(NO_MODEL, "return made", "return []"), '    """steps"""\n', "")
    found = faults(lab, text)
    assert [sentence.split()[0] for sentence in found] == ["The", "The"]
    assert "has no help" in found[0] and "returned 0 photos for 3 photos" in found[1]


def test_what_cannot_be_imported_or_is_no_method(lab: Path) -> None:
    assert faults(lab, "1 / 0")[0].startswith(
        "The module 'check_lab.mine' cannot be imported: Zero"
    )
    sys.modules.pop("check_lab.mine", None)
    assert "is no method: it has none of protect(), attack()" in faults(lab, "VERSION = 1")[0]
    with pytest.raises(UserError, match="'noise' may be one of the protections or of the purifie"):
        check("noise")
    with pytest.raises(UserError, match="There is no method or recipe 'psnrr'; did you mean 'psn"):
        check("psnrr")


def test_recipes_are_built_and_their_methods_found(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check("quick").kind == "recipes"
    (lab / "grids.py").write_text(
        "from dataclasses import replace\n"
        "from cloakwork.benchmark.recipes.quick import quick\n\n\n"
        "def wrong():\n"
        "    grid = quick(None)\n"
        "    table = replace(grid.tables[0], protections=('pidd',), metrics=('psnrr',))\n"
        "    return replace(grid, tables=(table,))\n"
    )
    assert cli.main(["check", "check_lab.grids.wrong"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line[:34] for line in said] == ["The table 'Attackers': There is no"] * 2
    assert "'pidd'" in said[0] and "'psnrr'" in said[1]
