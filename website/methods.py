"""A page for each method, made from its file, from docs/ and from what was measured.

Nothing of the package is imported but its registry: files are read as they stand.
"""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import griffe

from cloakwork import registry
from cloakwork.registry import surrogate_needs

ROOT = Path(__file__).parents[1]
SHEETS = Path("docs/pictures/methods")
# what stands on a page of a kind: document, table in it, what it is; {name} is the method
TABLES = {
    "protections": [
        ("protections.md", "methods", "One attacker, with transformations, one seed"),
        ("protections.md", "best", "Three attackers, two seeds"),
        ("protections.md", "one pass", "One lean attacker, in float32, one seed"),
        ("red-team.md", "purifiers", "After purifiers, at another size of photos"),
        ("protections.md", "cost", "Cost, five portraits on one core"),
    ],
    "attackers": [
        ("findings.md", "attackers", "What it learns from clean photos"),
        ("protections.md", "other attackers", "From protected photos"),
    ],
    "purifiers": [
        ("red-team.md", "purifiers", "What an attacker gets after it"),
        ("red-team.md", "other purifiers", "What an attacker gets after it"),
        ("red-team.md", "screen left", "Share of the protection left in the latents"),
        ("red-team.md", "screen cost", "Cost on one core"),
    ],
    "metrics": [],
}
# rows that are kept beside a method's own
CONTROLS = {
    "protections": ("none", "noise"),
    "attackers": ("untuned",),
    "purifiers": ("none", "lean"),
}
# columns that the whole tables have beside these
LEFT_OUT = ("against ours", "no face", "distance")
WAYS = {"higher": "higher is better", "lower": "lower is better", "": "neither way is better"}
COMPARED = {"originals": "the originals", "subject": "clean photos of the subject", None: "nothing"}


def page(kind: str, name: str) -> str:
    """Return the page of a method, in Markdown."""
    tree = ast.parse(source(kind, name).read_text(encoding="utf-8"))
    first, _, rest = (ast.get_docstring(tree) or "").partition("\n\n")
    parts = [f"# {name}", linked(" ".join(first.split()))]
    if kind == "protections":
        against = surrogate_needs.surrogates_in_words(name) or "nothing; it looks at no model"
        parts.append(f"Computed against: {against}.")
    parts += sheet(kind, name)
    parts += metric(tree) if kind == "metrics" else []
    if rest:
        parts += ["## The method", linked(rest)]
    parts += ["## Settings", *settings(kind, name, tree)]
    if tables := results(kind, name):
        parts += ["## Results", ON_TINY, *tables]
    return "\n\n".join(parts) + "\n"


ON_TINY = (
    "On `tiny`, a small model; none of it says anything about another. "
    "The controls stand beside it. [What the numbers mean](../../explain/numbers.md)."
)


def index(kind: str) -> str:
    """Return the page that lists a kind's methods."""
    rows = [f"| [{name}]({name}.md) | {cell(text)} |" for name, text in registry.listing(kind)]
    lead = {
        "protections": "A protection turns photos into protected photos.",
        "attackers": "An attacker turns photos into the pictures that somebody wants of them.",
        "purifiers": "A purifier turns photos into photos that are less protected.",
        "metrics": "A metric turns pictures into scores.",
    }[kind]
    more = f"`cloakwork list {kind} NAME` prints one. Each has a page here, made from its file."
    head = [f"# {kind.capitalize()}", "", lead, more, "", "| name | what it does |", "|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def source(kind: str, name: str) -> Path:
    """Return a method's file."""
    return ROOT / "src" / "cloakwork" / kind / f"{name}.py"


def linked(text: str) -> str:
    r"""Return a docstring's text as Markdown: its lists begin after a blank line, and papers link.

    >>> linked("Checked (arXiv 2406.15305):\n- one")
    'Checked ([arXiv 2406.15305](https://arxiv.org/abs/2406.15305)):\n\n- one'
    """
    text = re.sub(r"(?m)^(?![-\s])(.+)\n(?=- )", r"\1\n\n", text)
    text = re.sub(r"arXiv\s+(\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)
    # outside code and formulas a star or an underscore is itself
    return "\n".join(
        line
        if line.startswith("    ")
        else re.sub(r"(`[^`]*`)|([*_])", lambda m: m[1] or f"\\{m[2]}", line)
        for line in text.splitlines()
    )


def cell(text: str) -> str:
    """Return a text as it stands in a table."""
    return linked(text).replace("|", r"\|").replace("\n", " ")


def sheet(kind: str, name: str) -> list[str]:
    """Return the contact sheet of a method with what it was made with, if there is one."""
    made = json.loads((ROOT / SHEETS / "sheets.json").read_text(encoding="utf-8"))
    if name not in made.get(kind, {}):
        return []
    spec = made[kind][name]
    fewer = ", fewer steps than its preset has" if ":" in spec else ""
    shown = {
        "protections": "Original, protected photo, difference",
        "purifiers": "What `pid` protected, the same purified, what the purifier changed",
    }[kind]
    picture = f"![{shown.replace('`', '')}](../../pictures/methods/{kind}-{name}.webp)"
    note = f"{shown}; 32/255 is white or black in it. Made by `{spec}` on `tiny`{fewer}."
    return [picture, note if kind == "protections" else note.replace(" on `tiny`", "")]


def metric(tree: ast.Module) -> list[str]:
    """Return what a metric's numbers mean."""
    given = {k.arg: k.value for k in call(tree, "METRIC").keywords}
    scope, better, unit, reference = (
        ast.literal_eval(given[k]) for k in ("scope", "better", "unit", "reference")
    )
    numbers = {"image": "one for each picture", "set": "one for all pictures together"}[scope]
    low, high = (
        ast.unparse(e).replace("math.inf", "no bound")
        for e in given["range"].elts  # type: ignore[attr-defined]
    )
    return [
        f"- numbers: {numbers}; {WAYS[better]}\n"
        f"- range: {low} to {high}{f', unit: {unit}' if unit else ''}\n"
        f"- compared with {COMPARED[reference]}"
    ]


def call(tree: ast.Module, name: str) -> ast.Call:
    """Return the call that a module's constant is made by."""
    (found,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    assert isinstance(found, ast.Call)
    return found


def settings(kind: str, name: str, tree: ast.Module) -> list[str]:
    """Return the tables of a method's presets and of its fields."""
    parts = []
    if named := presets(tree):
        rows = [f"| `{preset}` | {code(changes)} |" for preset, changes in named.items()]
        parts.append("\n".join(["| preset | differs from the defaults by |", "|---|---|", *rows]))
    config = package()[f"{kind}.{name}.Config"]
    rows = [
        f"| `{field.name}` | {code({'': str(field.value)})} | "
        f"{cell(' '.join(field.docstring.value.split())) if field.docstring else ''} |"
        for field in config.attributes.values()
        if field.value is not None
    ]
    if not rows:
        return [*parts, "There is nothing to choose."]
    return [*parts, "\n".join(["| field | default | what it is |", "|---|---|---|", *rows])]


def code(changes: dict[str, str]) -> str:
    """Return settings as code in a table's cell.

    >>> code({"steps": "50", "g": "'-'"}), code({})
    ("`steps=50`, `g='-'`", 'nothing')
    """
    shown = []
    for name, value in changes.items():
        if value.startswith("field(") and (given := re.match(r"field\(default=(.+?), meta", value)):
            value = given[1]
        shown.append(f"`{name}={value}`" if name else f"`{value}`")
    return ", ".join(shown).replace("|", r"\|") or "nothing"


def presets(tree: ast.Module) -> dict[str, dict[str, str]]:
    r"""Return what each preset of a module sets beside the fields' defaults.

    >>> text = "T = Config(a=1)\nPRESETS = {'x': replace(T, b=2), 'y': Config()}"
    >>> presets(ast.parse(text))
    {'x': {'a': '1', 'b': '2'}, 'y': {}}
    """
    values = {
        ast.unparse(node.targets[0]): node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
    }

    def changes(node: ast.expr) -> dict[str, str]:
        if isinstance(node, ast.Name):
            return changes(values[node.id])
        if not isinstance(node, ast.Call):
            raise TypeError(f"a preset is neither a Config nor one that was replaced: {node}")
        base = changes(node.args[0]) if ast.unparse(node.func) == "replace" else {}
        return base | {str(k.arg): ast.unparse(k.value) for k in node.keywords}

    found = values.get("PRESETS")
    if not isinstance(found, ast.Dict):
        return {}
    keys = [ast.literal_eval(key) for key in found.keys if key is not None]
    return {key: changes(value) for key, value in zip(keys, found.values, strict=True)}


@cache
def package() -> griffe.Object:
    """Return the package as griffe reads it, without importing it."""
    found = griffe.load("cloakwork", search_paths=[ROOT / "src"], allow_inspection=False)
    assert isinstance(found, griffe.Object)
    return found


def results(kind: str, name: str) -> list[str]:
    """Return the rows of the documents' tables that are about a method, beside the controls."""
    parts = []
    for doc, table, what in TABLES[kind]:
        text = (ROOT / "docs" / doc).read_text(encoding="utf-8")
        found = re.search(rf"<!-- {re.escape(table)} -->\n\n(\|.*?)\n\n", text, re.DOTALL)
        rows = found[1].split("\n") if found else []
        if kind == "purifiers" and table == "purifiers":
            rows = turned(rows)
        mine = [row for row in rows[2:] if about(row, name)]
        if mine:
            kept = [row for row in rows[2:] if row in mine or about(row, *CONTROLS[kind])]
            alone = len(kept) == len(mine)
            shown = [bold(row, name) if row in mine and not alone else row for row in kept]
            lines = without_empty_columns([*rows[:2], *shown])
            parts += [f"**{what}** ([all](../../{doc}))", "\n".join(lines)]
    return parts


def cells(row: str) -> list[str]:
    """Return a row's cells; what is bold in a whole table is not in a part of it."""
    return [part.strip().removeprefix("**").removesuffix("**") for part in row[1:-1].split("|")]


def named(part: str) -> str:
    """Return the method that a cell names.

    >>> named("aspl:bf16"), named("jpeg, CDL"), named("dreambooth (`tiny`)"), named("jpeg+resize")
    ('aspl', 'jpeg', 'dreambooth', 'jpeg+resize')
    """
    return re.split(r"[:@,(]", part.replace("`", ""))[0].strip().lower().replace(" ", "_")


def about(row: str, *names: str) -> bool:
    """Tell whether one of a row's first two cells names one of these methods."""
    return any(named(part) in names for part in cells(row)[:2])


def bold(row: str, name: str) -> str:
    """Return a row in which the method's name stands out."""
    parts = [f"**{part}**" if named(part) == name else part for part in cells(row)]
    return "| " + " | ".join(parts) + " |"


def turned(rows: list[str]) -> list[str]:
    """Return a table with its columns as rows."""
    if not rows:
        return []
    grid = [cells(row) for row in [rows[0], *rows[2:]]]
    head, *lines = ["| " + " | ".join(column) + " |" for column in zip(*grid, strict=True)]
    return [head, "|" + "---|" * len(grid), *lines]


def without_empty_columns(rows: list[str]) -> list[str]:
    """Return a table without what is left out, and without columns in which no row has anything."""
    grid = [[part.strip() for part in row[1:-1].split("|")] for row in rows]
    kept = [
        j
        for j, name in enumerate(grid[0])
        if name not in LEFT_OUT and any(line[j] for line in grid[2:])
    ]
    return ["| " + " | ".join(line[j] for j in kept) + " |" for line in grid]
