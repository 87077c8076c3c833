"""How results show themselves: as a few lines, as a table in a notebook, as a pandas frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import Any, TypeVar

from cloakwork import registry
from cloakwork.errors import UserError
from cloakwork.specs import Method

T = TypeVar("T")

MANY = 3  # photos whose names are told one by one


@dataclass(frozen=True)
class Summary:
    """What is shown of a result.

    Attributes:
        head: one line.
        rows: of its table; all have the same columns.
        notes: sentences that belong to it.
    """

    head: str
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()


class Listed(list[T]):
    """A list of results that prints as a few lines; in all else a list like any other.

    Attributes:
        summary: what is shown of it; it stays as it was when entries are added or taken away.
    """

    def __init__(self, entries: Iterable[T], summary: Summary) -> None:
        super().__init__(entries)
        self.summary = summary

    def __repr__(self) -> str:
        return text(self.summary)

    def _repr_html_(self) -> str:
        return html(self.summary)

    def frame(self) -> Any:
        """Return the table as a pandas DataFrame."""
        return frame(self.summary)


class Scores(dict[str, dict[str, Any]]):
    """Scores by metric that print as a few lines; in all else a dict like any other.

    Attributes:
        notes: sentences on files that were not scored.
    """

    notes: Sequence[str] = ()

    @property
    def summary(self) -> Summary:
        """What is shown of them."""
        columns = ("mean", "unit", "scored", "n", "reason")
        rows = [{"metric": name} | {c: row[c] for c in columns} for name, row in self.items()]
        told = [
            f"{name} unscored" if row["mean"] is None else f"{name} {row['mean']:.4g} {row['unit']}"
            for name, row in self.items()
        ]
        reasons = dict.fromkeys(row["reason"] for row in rows if row["reason"])
        return Summary(f"Scores: {', '.join(map(str.strip, told))}.", rows, [*reasons, *self.notes])

    def __repr__(self) -> str:
        return text(self.summary)

    def _repr_html_(self) -> str:
        return html(self.summary)

    def frame(self) -> Any:
        """Return the table as a pandas DataFrame."""
        return frame(self.summary)


def paper_note(method: Method, models: Iterable[str]) -> list[str]:
    """Return a note where a method has the paper's settings and its models are embedded ones.

    That is what a bare `Config()` gives, and rarely what was meant.
    """
    models, bare = tuple(models), method.module.Config()
    if not models or not all(map(registry.is_small, models)) or method.config != bare:
        return []
    if bare == registry.config(method.module, None, models):
        return []
    return [
        f"{method.name} has the settings of Config(), which are the paper's. "
        f"For {' and '.join(models)} there is the preset tiny, as in {method.name}:tiny."
    ]


def by_photo(notes: Iterable[tuple[str, Sequence[str]]], count: int = 0) -> list[str]:
    """Return notes on photos as sentences, each once, after the names of its photos.

    Args:
        notes: a photo's name, and the notes on it.
        count: of all photos; where a note is on all of many, it stands for their names.

    >>> by_photo([("a.jpg", ["No place."]), ("b.jpg", ["No place.", "No time."])])
    ['a.jpg, b.jpg: No place.', 'b.jpg: No time.']
    >>> by_photo([(f"{number}.jpg", ["No place."]) for number in range(30)], 30)
    ['All 30 photos: No place.']
    """
    names: dict[str, dict[str, None]] = {}
    for name, sentences in notes:
        for sentence in sentences:
            names.setdefault(sentence, {})[name] = None
    return [
        f"{f'All {count} photos' if len(of) == count > MANY else ', '.join(of)}: {sentence}"
        for sentence, of in names.items()
    ]


def text(summary: Summary) -> str:
    r"""Return a summary as a few lines.

    >>> text(Summary("2 photos.", [{"photo": "a"}, {"photo": "b"}], ["One is grey."]))
    '2 photos.\nOne is grey.'
    """
    return "\n".join([summary.head, *summary.notes])


def html(summary: Summary) -> str:
    """Return a summary as HTML, with its table.

    >>> html(Summary("1 photo.", [{"photo": "<a>", "psnr": 31.41592}]))[15:]
    '<table><tr><th>photo</th><th>psnr</th></tr><tr><td>&lt;a&gt;</td><td>31.42</td></tr></table>'
    """
    lines = [f"<p>{escape(line)}</p>" for line in (summary.head, *summary.notes)]
    cells = [[f"<td>{escape(_cell(value))}</td>" for value in row.values()] for row in summary.rows]
    names = [[f"<th>{escape(name)}</th>" for name in summary.rows[0]]] if summary.rows else []
    table = "".join(f"<tr>{''.join(row)}</tr>" for row in [*names, *cells])
    return f"{lines[0]}<table>{table}</table>{''.join(lines[1:])}"


def _cell(value: Any) -> str:
    """Return a value as it stands in a table.

    >>> _cell(None), _cell(0.123456), _cell(3)
    ('', '0.1235', '3')
    """
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def frame(summary: Summary) -> Any:
    """Return a summary's table as a pandas DataFrame.

    Raises:
        UserError: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ModuleNotFoundError:
        raise UserError(
            "A frame needs pandas, which is not installed. Install it with pip install pandas."
        ) from None
    return pandas.DataFrame(list(summary.rows))
