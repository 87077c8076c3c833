"""The tables of `mine` in docs/try-and-mine.md, from results/fingerprints.json."""

from __future__ import annotations

import json
from pathlib import Path

from finding_tables import head, line

KINDS = {
    "others": "of two people, things or classes",
    "alike": "of one person, thing or class",
}


def known_after(results: Path) -> list[str]:
    """A line for each change: of how many photos, how many are missed, and how many are sure."""
    after = json.loads((results / "fingerprints.json").read_text())["reported"]["after"]
    return [
        *head(
            ["change", "photos", "missed", "known", "of these surely", "bits that differ, median"]
        ),
        *(
            line(
                [
                    change,
                    str(row["photos"]),
                    f"{1 - row['known'] / row['photos']:.1%}",
                    str(row["known"]),
                    str(row["sure"]),
                    f"{row['median']:.0%}",
                ]
            )
            for change, row in after.items()
        ),
    ]


def taken_for_another(results: Path) -> list[str]:
    """A line for each kind of pair: how many were taken for each other; then photos."""
    made = json.loads((results / "fingerprints.json").read_text())
    found, chosen = made["reported"]["false"], made["chosen"]
    return [
        *head(["pairs of photos", "pairs", "likely", "sure", "photos with any"]),
        *(
            line(
                [
                    KINDS[kind],
                    f"{found[kind]['pairs']:,}",
                    f"{found[kind]['likely']} ({_share(found[kind], 'likely')})",
                    f"{found[kind]['sure']} ({_share(found[kind], 'sure')})",
                    f"{found[kind]['photos_likely']} of {found[kind]['photos']}",
                ]
            )
            for kind in KINDS
        ),
        "",
        f"{made['reported']['repeats']} of the pairs of one person, thing or class are one picture "
        "twice, mirrored or not, by their pixels: the data sets hold them so.",
        "",
        f"Bounds that were chosen: likely up to {chosen['likely']:.0%} of the bits, sure up to "
        f"{chosen['sure']:.0%}; on {made['choosing']['false']['alike']['photos']} photos of "
        f"{made['choosing']['groups']} other people, things and classes.",
    ]


def _share(row: dict[str, int], bound: str) -> str:
    """The share of pairs taken for each other; of none, the upper end of its 95 % interval."""
    if not row[bound]:
        return f"under {3 / row['pairs']:.1g}"
    return f"{row[bound] / row['pairs']:.1g}"


TABLES = {
    "known after": (("fingerprints.json",), known_after),
    "taken for another": (("fingerprints.json",), taken_for_another),
}
