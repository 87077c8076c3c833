"""What a protection needs for an entry on the board: the attackers that all others there met.

`methods` are protections as after `cloakwork protect --protection`. `data` holds the folder
`identities` (a folder for each person, with set_A and set_B in it), as for `tiny`. Without it two
sample photos are taken and leaner attackers, in minutes: then the entry is marked as unreliable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cloakwork.benchmark.grids import THINGS, Grid, Table, people
from cloakwork.benchmark.recipes import _red_team, quick, tiny
from cloakwork.benchmark.recipes._papers import names
from cloakwork.errors import UserError

BUDGET = 11  # 1/255; at which the board compares


def board(data: Path | None, methods: Sequence[str], models: Mapping[str, str]) -> Grid:
    """Build the grid.

    Raises:
        UserError: no method, or no such folder of photos.
    """
    if not methods:
        raise UserError(
            "The recipe 'board' needs a protection. Name it with --method, such as my_lab.mine, "
            "and a folder of photos of people with --data."
        )
    victim = names(models)("tiny")
    return Grid(
        "board",
        "Protections as the board compares them: learned from, and purified first.",
        _tables(data, tuple(methods), victim) if data else _lean(tuple(methods), victim),
    )


def _tables(data: Path, methods: tuple[str, ...], victim: str) -> tuple[Table, ...]:
    """Return the tables of an entry that can stand beside the others."""
    everybody = people(data / "identities")
    # as large as the model's own pictures: what is done to larger ones mostly goes when they are
    # made small for the attacker
    small = people(data / "identities", _red_team.SIDE)
    learned, edits, purified = (
        # every laptop has float32; where bfloat16 is imitated, hours would become weeks
        tuple(replace(threat, victim=victim, dtype="float32") for threat in threats)
        for threats in (
            tiny.THREE,
            tiny.SDEDITS[-1:],
            _red_team.with_and_without_cdl(*_red_team.MAIN),
        )
    )
    table = partial(Table, protections=methods, budget=BUDGET, surrogates=(victim,))
    return (
        table("learned", threat_models=learned, subjects=everybody),
        table("edits", threat_models=edits, subjects=everybody, metrics=tiny.EDITED),
        table("purified", threat_models=purified, subjects=small),
    )


def _lean(methods: tuple[str, ...], victim: str) -> tuple[Table, ...]:
    """Return the table of an entry that shows that everything runs."""
    return (
        Table(
            "quick",
            methods,
            quick.lean(victim),
            quick.samples(),
            THINGS,
            budget=BUDGET,
            surrogates=(victim,),
        ),
    )
