"""What MkDocs does beyond its defaults: pages from the repository's root, and links to its files.

`mkdocs.yml` names this file; MkDocs calls the functions by their names.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))

import methods  # noqa: E402 - they lie beside this file
import notebooks  # noqa: E402

from cloakwork import registry  # noqa: E402

# files beside docs/ that are pages of the site, and their pages
ROOT_PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
}
METHODS = "Methods"  # the navigation's tab that is filled here
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(```.*?```)", re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the methods' pages into the navigation, in the place of the word that stands there."""
    assert config.nav is not None
    (tab,) = [tab for tab in config.nav if METHODS in tab]
    tab[METHODS] = [
        {kind.capitalize(): [f"methods/{kind}/index.md", *method_pages(kind).values()]}
        for kind in registry.KINDS
    ]
    return config


def method_pages(kind: str) -> dict[str, str]:
    """Return the page of each method of a kind, by its name."""
    return {name: f"methods/{kind}/{name}.md" for name, _ in registry.listing(kind)}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages whose text lies outside docs/."""
    for name, page in ROOT_PAGES.items():
        if name != "README.md":
            text = (ROOT / name).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=text))
    for path in sorted(notebooks.FOLDER.glob("*.ipynb")):
        text, pictures = notebooks.shown(path)
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=text))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=picture))
    for kind in registry.KINDS:
        lists = methods.index(kind)
        files.append(File.generated(config, f"methods/{kind}/index.md", content=lists))
        for name, page in method_pages(kind).items():
            text = methods.page(kind, name)
            files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where their files are on the site."""
    pages = {place: name for name, place in ROOT_PAGES.items() if place != "index.md"}
    source = pages.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    parts = FENCE.split(markdown)
    return "".join(
        part if part.startswith("```") else LINK.sub(lambda link: led(link, source), part)
        for part in parts
    )


def led(link: re.Match[str], source: str) -> str:
    """Return a link of a file of the repository as the site has it.

    A file that is no page of the site is named in place of a link.
    """
    text, target, anchor = link[1], link[2], link[3] or ""
    if re.match(r"[a-z]+:", target):
        return link[0]
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    place = ROOT_PAGES.get(wanted, wanted.removeprefix("docs/").replace(".ipynb", ".md"))
    if wanted not in ROOT_PAGES and not wanted.startswith("docs/"):
        return text if text in (target, wanted) else f"{text} (`{wanted}`)"
    here = ROOT_PAGES.get(source, source.removeprefix("docs/"))
    return f"[{text}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{anchor})"
