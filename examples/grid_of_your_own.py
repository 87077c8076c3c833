"""A benchmark of one's own: two protections, an attacker, the sample photos.

cloakwork bench --recipe examples.grid_of_your_own.grid -o report/
"""

from pathlib import Path

from cloakwork.benchmark.grids import THINGS, Grid, Table, threat_model
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.sources import source
from cloakwork.files import SAMPLE_PHOTOS

# two steps show that it runs; some 300 teach the model anything
LEAN = threat_model("two steps", "dreambooth:tiny:steps=2,class_images=2,sampling.n=1")


def grid(data: Path | None) -> Grid:
    """Return the grid; `data` is what --data names."""
    photos = source([SAMPLE_PHOTOS / "chelsea.png"])
    cat = Subject("cat", photos, photos, budget=11, references=photos, noun="cat")
    table = Table("pid and noise", ("pid:tiny:steps=2",), (LEAN,), (cat,), THINGS)
    return Grid("mine", "One cat, two pictures.", (table,))
