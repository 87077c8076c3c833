"""Methods are found by their files, listed without being imported, and anybody's module will do."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

import cloakwork
from cloakwork import registry, specs
from cloakwork.cli.protect_flags import Files, How, Sample, flag_names
from cloakwork.errors import UserError
from cloakwork.workflows import check_module

ALL = [(kind, name) for kind in registry.KINDS for name, _ in registry.listing(kind)]
MINE = '''"""A protection of mine."""
from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True)
class Config:
    budget: float = 11
    steps: int = 9


PRESETS = {"paper": Config(), "tiny": Config(steps=2)}


def protect(photos, surrogates, cfg, *, clean, rng, state):
    return photos
'''


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an empty package `lab` in it."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path / "lab"
    for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
        del sys.modules[name]


def test_a_word_stands_for_a_methods_name() -> None:
    assert specs.method("protections", "strongest").name == registry.STRONGEST_PROTECTION
    strongest = specs.parse("protections", "strongest:tiny:steps=3")
    assert (strongest.name, strongest.config.steps) == (registry.STRONGEST_PROTECTION, 3)


def test_the_preset_of_the_default_gives_way_to_what_is_named() -> None:
    name, preset = registry.DEFAULT_PROTECTION.split(":")
    presets = registry.load("protections", name).PRESETS
    usual = specs.method("protections", registry.DEFAULT_PROTECTION, ["somebody/a-model"])
    assert (usual.name, usual.config) == (name, presets[preset])
    for how in ({"preset": "paper"}, {"config": presets["paper"]}):
        chosen = specs.method("protections", registry.DEFAULT_PROTECTION, **how)
        assert (chosen.name, chosen.config) == (name, presets["paper"])


def test_names_are_files_and_help_is_the_first_docstring_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "protections"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Not a method."""')
    (folder / "_shared.py").write_text('"""Not a method either."""')
    (folder / "zeta.py").write_text('"""Last one.\n\nMore about it."""\nimport not_installed')
    (folder / "alpha.py").write_text("import not_installed")
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "registry" / "__init__.py"))
    assert registry.listing("protections") == [("alpha", ""), ("zeta", "Last one.")]


def test_listing_imports_no_method_and_no_torch() -> None:
    code = (
        "import sys; from cloakwork import registry; [registry.listing(k) for k in registry.KINDS];"
        "heavy = ('torch', 'diffusers', 'transformers', 'numpy');"
        "bad = [m for m in sys.modules if m.partition('.')[0] in heavy];"
        "bad += [m for m in sys.modules if m.startswith('cloakwork.protections')];"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=_environment())


def test_every_function_of_the_package_is_where_it_is_said_to_be() -> None:
    assert all(callable(getattr(cloakwork, name)) for name in cloakwork._HOME)
    assert set(cloakwork._HOME) < set(cloakwork.__all__)


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, cloakwork; assert 'protect' in dir(cloakwork);sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=_environment())


def test_the_package_says_what_it_lacks() -> None:
    import cloakwork

    with pytest.raises(AttributeError, match="no attribute 'protekt'"):
        _ = cloakwork.protekt


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_method_keeps_the_contract(kind: str, name: str) -> None:
    module = registry.load(kind, name)
    assert dict(registry.listing(kind))[name], (
        "the first line of the docstring is the method's help"
    )
    assert check_module.faults(module, kind, flag_names(Files, How, Sample)) == []
    parameters = inspect.signature(getattr(module, registry.FUNCTIONS[kind])).parameters
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters.values())
    for config in [module.Config(), *getattr(module, "PRESETS", {}).values()]:
        assert type(config) is module.Config
        for field in fields(config):
            with pytest.raises(FrozenInstanceError):
                setattr(config, field.name, None)


def test_a_mistyped_name_gets_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "files", lambda kind: [Path("aspl.py"), Path("photoguard.py")])
    with pytest.raises(UserError) as error:
        registry.load("protections", "photogaurd")
    assert str(error.value).startswith(
        "There is no protection 'photogaurd'; did you mean 'photoguard'? Known: aspl, photoguard."
    )


def test_a_name_like_no_other_gets_the_list_alone() -> None:
    text = str(registry.unknown("kind", "zzz", ["protections", "metrics"]))
    assert text == "There is no kind 'zzz'. Known: protections, metrics."


def test_anybodys_module_is_found_from_the_working_folder(lab: Path) -> None:
    (lab / "mine.py").write_text(MINE)
    module = registry.load("protections", "lab.mine")
    assert module.__doc__ == "A protection of mine."
    assert registry.load("protections", "lab.mine") is module


def test_the_working_folder_hides_no_installed_package(lab: Path) -> None:
    (lab / "mine.py").write_text("import json\n" + MINE.partition("\n")[2])
    (lab.parent / "json.py").write_text("raise SystemExit('hidden')")
    assert registry.load("protections", "lab.mine").VERSION == 1


def test_a_module_that_lacks_parts_is_told_all_of_them(lab: Path) -> None:
    (lab / "empty.py").write_text("VERSION = '1'\nConfig = dict")
    with pytest.raises(UserError) as error:
        registry.load("protections", "lab.empty")
    assert str(error.value) == (
        "The module 'lab.empty' is not one of the protections: "
        "it lacks VERSION (a whole number), Config (a frozen dataclass), protect() (a function)."
    )


def test_a_module_that_may_change_its_config_is_refused(lab: Path) -> None:
    (lab / "loose.py").write_text(MINE.replace("(frozen=True)", ""))
    with pytest.raises(UserError, match="lacks Config"):
        registry.load("protections", "lab.loose")


def test_a_protection_without_a_budget_is_refused(lab: Path) -> None:
    (lab / "boundless.py").write_text(MINE.replace("    budget: float = 11\n", ""))
    with pytest.raises(UserError, match=r"it lacks Config\.budget"):
        registry.load("protections", "lab.boundless")


def test_a_module_of_another_kind_is_refused(lab: Path) -> None:
    (lab / "mine.py").write_text(MINE)
    with pytest.raises(UserError, match=r"not one of the purifiers: it lacks purify\(\)"):
        registry.load("purifiers", "lab.mine")


@pytest.mark.parametrize("name", ["lab.mnie", "nowhere.mine"])
def test_a_module_that_is_not_there(lab: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"There is no module '{name}' here"):
        registry.load("protections", name)


@pytest.mark.parametrize("name", [".mine", "lab.", "..", "./mine.py", "lab.2"])
def test_a_name_that_is_no_module_name(lab: Path, name: str) -> None:
    with pytest.raises(UserError, match="is not the name of a module"):
        registry.load("protections", name)


def test_a_module_that_needs_what_is_not_installed(lab: Path) -> None:
    (lab / "needy.py").write_text("import not_installed_at_all")
    with pytest.raises(
        UserError, match=r"'lab\.needy' needs 'not_installed_at_all', which is not installed"
    ):
        registry.load("protections", "lab.needy")


def test_the_preset_follows_the_surrogates(lab: Path) -> None:
    (lab / "mine.py").write_text(MINE)
    module = registry.load("protections", "lab.mine")
    assert registry.config(module, surrogates=["tiny"]).steps == 2
    assert registry.config(module, surrogates=["tiny", "tiny-b"]).steps == 2
    assert registry.config(module, surrogates=["tiny", "someone/some-model"]).steps == 9
    assert registry.config(module, "paper", ["tiny"]).steps == 9
    with pytest.raises(
        UserError, match=r"no lab\.mine preset 'papre'; did you mean 'paper'\? Known: paper, tiny"
    ):
        registry.config(module, "papre")


def test_a_module_without_presets_has_its_defaults(lab: Path) -> None:
    (lab / "bare.py").write_text(MINE.replace("PRESETS", "OTHER"))
    assert registry.config(registry.load("protections", "lab.bare")).steps == 9


def test_the_example_in_the_guide_is_a_method(lab: Path) -> None:
    guide = Path(__file__).parents[1] / "docs" / "how-to" / "add_a_protection.md"
    (lab / "push.py").write_text(
        guide.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    )
    module = registry.load("protections", "lab.push")
    assert registry.config(module, "tiny").steps == 20


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(str(cloakwork.__file__)).parents[1])}
