"""A small share of the campaign: `make campaign` tries each of its parts by the thousand."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaign.command import PARTS

SHARE = {"photos": 120, "carriers": 20}


@pytest.mark.parametrize("name", PARTS)
def test_a_share_of_the_campaign_finds_no_fault(name: str, tmp_path: Path) -> None:
    outcomes = PARTS[name].run(17, SHARE[name], tmp_path)
    assert outcomes.total() == SHARE[name]
    assert not {o: n for o, n in outcomes.items() if o.startswith("FAULT")}
