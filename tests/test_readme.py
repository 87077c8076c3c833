"""The front door: README, its pictures, and what the repository says of itself."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import cloakwork

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "website")
    return importlib.import_module("longest")


def test_the_readme_is_read_in_one_go(longest: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 110
    long = [s for s in longest.sentences(text) if len(s.split()) >= 30]
    assert not long
    assert text.index("## What it cannot do") < text.index("## Install")


def test_a_long_sentence_is_noticed(longest: ModuleType) -> None:
    found = longest.sentences("# A\n\nOne. Two\nmore: three.\n\n- four\n- [five](six)")
    assert found == ["A", "One.", "Two\nmore:", "three.", "four", "five"]
    assert longest.sentences("| a |\n|---|\n\nAfter a table.") == ["After a table."]


# those that were rewritten; the others are read by fewer
@pytest.mark.parametrize("name", ["protections", "red-team", "findings", "scale", "faq"])
def test_documents_have_short_sentences(longest: ModuleType, name: str) -> None:
    words, _, sentence = longest.longest([ROOT / "docs" / f"{name}.md"])[0]
    assert words < 40, sentence


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_the_figures_are_of_the_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.chdir(ROOT)
    importlib.import_module("pictures").results(tmp_path)
    for name in ("results.svg", "red-team.svg", "findings.svg"):
        drawn, kept = (
            (folder / name).read_text(encoding="utf-8")
            for folder in (tmp_path, ROOT / "docs" / "pictures")
        )
        assert drawn == kept, "run python benchmarks/pictures.py results"


def test_what_the_repository_says_of_itself() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == cloakwork.__version__ and citation["license"] == "Apache-2.0"
    cited = (ROOT / "docs" / "citing.md").read_text(encoding="utf-8")
    assert f"version = {{{cloakwork.__version__}}}" in cited
    forms = [*(ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")]
    assert len(forms) == 3
    for form in forms:
        asked = yaml.safe_load(form.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(asked)
        assert all(
            field["type"] in {"input", "textarea", "dropdown", "checkboxes", "markdown"}
            for field in asked["body"]
        )
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        # YAML 1.1 reads the word `on` as true
        assert {"name", True, "permissions", "jobs"} <= set(yaml.safe_load(workflow.read_text()))
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    pinned = dict(
        re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    )
    assert hooks["repos"][0]["rev"] == f"v{pinned['ruff']}"
