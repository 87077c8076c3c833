"""The front door: README, its pictures, and what the repository says of itself."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml

import cloakwork

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def sentences(text: str) -> list[str]:
    """Sentences of running text and of lists; code, tables, pictures and addresses are no words."""
    text = re.sub(r"```.*?```|^\|.*$|!\[.*?\]\(.*?\)", "\n\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", text)
    parts = re.split(r"\n\s*\n|^- |^#+ ", text, flags=re.MULTILINE)
    return [s.strip() for p in parts for s in re.split(r"(?<=[.:!?*])\s+", p) if s.strip()]


def test_the_readme_is_read_in_one_go() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 110
    long = [s for s in sentences(text) if len(s.split()) >= 30]
    assert not long
    assert text.index("## What it cannot do") < text.index("## Install")


def test_a_long_sentence_is_noticed() -> None:
    found = sentences("# A\n\nOne. Two\nmore: three.\n\n- four\n- [five](six)")
    assert found == ["A", "One.", "Two\nmore:", "three.", "four", "five"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_the_figure_is_of_the_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.chdir(ROOT)
    importlib.import_module("pictures").results(tmp_path)
    drawn, kept = (
        (folder / "results.svg").read_text(encoding="utf-8")
        for folder in (tmp_path, ROOT / "docs" / "pictures")
    )
    assert drawn == kept, "run python benchmarks/pictures.py results"


def test_what_the_repository_says_of_itself() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == cloakwork.__version__ and citation["license"] == "Apache-2.0"
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
