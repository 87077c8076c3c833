"""What is computed for a page, by the workflows that the commands call: plain data in and out.

Every function takes what it is asked and a function to report by, and returns the answer; pictures
go to a folder that it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from cloakwork import specs
from cloakwork.evaluation.run import attacker_rng, run_attacker
from cloakwork.evaluation.sources import as_loaded
from cloakwork.files import FOLDER, atomic_write
from cloakwork.metrics import noticed
from cloakwork.models import loading
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import from_pil, to_pil
from cloakwork.state import RunState
from cloakwork.web.reporting import Tell, reporting
from cloakwork.web.uploads import without_folder
from cloakwork.workflows import before_after, estimate
from cloakwork.workflows.audit import audit
from cloakwork.workflows.images import protect_images
from cloakwork.workflows.protect import protect
from cloakwork.workflows.protect_plan import ProtectOptions, plan_protection
from cloakwork.workflows.records import SetRecord, in_short, reach
from cloakwork.workflows.try_photos import try_photos
from cloakwork.workflows.workload import Workloads

CROP = 480  # pixels of a preview's side
MODEL = "tiny"


def get_ready() -> None:
    """Load the model that everything here is computed with; it stays loaded."""
    loading.load(MODEL)


def protect_photos(asked: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Protect the photos of a page.

    Args:
        asked: `photos` and `out`, folders; `protection`, with its settings as on the command line;
            `strength`; `suffix` and `strip_gps` as `protect` takes them.
        tell: called with `share` (0 to 1), `words` and `left` (seconds; None: unknown).

    Returns:
        What the command would print (`head`, `notes`, `reach`), and the `photos`: `name`, `width`,
        `height`, `caption`, the protected `file`, and what a browser shows `before` and `after`.
    """
    photos, out = Path(asked["photos"]), Path(asked["out"])
    records = protect(
        photos,
        out,
        protection=asked["protection"],
        surrogates=MODEL,
        suffix=asked["suffix"],
        strip_gps=asked["strip_gps"],
        progress=reporting(tell),
        strength=asked["strength"],
    )
    notes = [note for record in records for note in record.notes]
    return {
        "head": in_short(records),
        "notes": without_folder(without_folder(list(dict.fromkeys(notes)), photos), out),
        "reach": reach(records[0]),
        "photos": [shown for record in records for shown in _shown(record, out)],
    }


def _shown(record: SetRecord, out: Path) -> list[dict[str, Any]]:
    """Return the photos of a set as the page shows them."""
    found = []
    for photo in record.photos:
        pair, name = before_after.pair(photo, out), photo.output.relative_to(out)
        kept = out / FOLDER / "shown" / name
        found.append(
            {
                "name": name.as_posix(),
                "width": pair.width,
                "height": pair.height,
                "caption": pair.caption,
                "file": str(photo.output),
                "before": str(_for_browsers(photo.original, kept.with_name(f"{name.name}.0.png"))),
                "after": str(_for_browsers(photo.output, kept.with_name(f"{name.name}.1.png"))),
            }
        )
    return found


def _for_browsers(photo: Path, copy: Path) -> Path:
    """Return a photo's file, or a copy of it where browsers do not show that kind."""
    if photo.suffix.lower() in before_after.SHOWN:
        return photo
    from cloakwork.photos.decoding import decode

    return _saved(decode(photo).image, copy)


def preview(asked: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Protect one photo in a hurry, and cut out of its middle what shows how it will look.

    The whole photo is protected: a part alone would be given a finer pattern.

    Args:
        asked: `photo`, its file; `out`, a folder; `protection` and `strength`.
        tell: as of `protect_photos`.

    Returns:
        `before` and `after`, files; their `width` and `height`; and how visible the change is, in a
        `word`.
    """
    out = Path(asked["out"])
    whole = to_pil(as_loaded(load_photo(Path(asked["photo"])).pixels))
    protected = protect_images(
        whole,
        asked["protection"],
        surrogates=MODEL,
        progress=reporting(tell),
        strength=asked["strength"],
    )
    change = noticed.score([from_pil(protected)], [from_pil(whole)], None, noticed.Config())
    before, after = (_middle(picture) for picture in (whole, protected))
    return {
        "before": str(_saved(before, out / "before.png")),
        "after": str(_saved(after, out / "after.png")),
        "width": before.width,
        "height": before.height,
        "word": noticed.word(change.item()),
    }


def _middle(picture: Image.Image) -> Image.Image:
    """Cut the middle out of a picture."""
    wide, high = min(CROP, picture.width), min(CROP, picture.height)
    left, top = (picture.width - wide) // 2, (picture.height - high) // 2
    return picture.crop((left, top, left + wide, top + high))


def estimate_time(asked: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Find out how long protections of a page's photos would take, by a trial of each.

    Args:
        asked: `photos` and `out`, folders; `protections`, name -> protection with its settings;
            `strength`.
        tell: called with what is known so far.

    Returns:
        Each name and the seconds; None where they cannot be told.
    """
    workloads, found = Workloads(), dict[str, Any]()
    for name, spec in asked["protections"].items():
        method = specs.method(
            "protections", spec, [MODEL], settings={"strength": asked["strength"]}
        )
        plan = plan_protection(
            [asked["photos"]],
            asked["out"],
            method,
            [MODEL],
            ProtectOptions(skip_bad=True),
        )
        found[name] = estimate.seconds_expected(plan.job, plan.tasks, workloads)
        tell(dict(found))
    return found


def edit(asked: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Edit a photo before and after its protection, with the same noise.

    Args:
        asked: `before` and `after`, files; `out`, a folder; `attacker` with its settings; `prompt`;
            the photo's `number`.
        tell: as of `protect_photos`.

    Returns:
        The `model` that edits, the `side` of its pictures, the `number`; `rows`, one for each
        strength of the edit: `strength` (0 to 1), and the pictures `before` and `after`.
    """
    method = specs.method("attackers", asked["attacker"], [MODEL])
    model, out = loading.load(MODEL), Path(asked["out"])
    report, arms = reporting(tell), ("before", "after")
    pictures = {}
    for done, arm in enumerate(arms):
        report("attackers", done, len(arms))
        photo = as_loaded(load_photo(Path(asked[arm])).pixels).to(model.device)
        pictures[arm] = run_attacker(
            method,
            [photo],
            model,
            [asked["prompt"]],
            masks=None,
            rng=attacker_rng(0),
            state=RunState(None, method.name, report),
        )
    return {
        "model": f"{model.name} (weights {model.weights})",
        "side": model.size,
        "number": asked["number"],
        "rows": [
            {
                "strength": strength,
                **{
                    arm: str(_saved(to_pil(pictures[arm][i]), out / f"{i}-{arm}.png"))
                    for arm in arms
                },
            }
            for i, strength in enumerate(method.config.strengths)
        ],
    }


def what_is_left(asked: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Measure what is left of a protection, as the photo is and after purifiers, as `try` does.

    Args:
        asked: `file`, a protected photo beside its record; `purifiers` and `coders` as `try_photos`
            takes them; the photo's `number`.
        tell: as of `protect_photos`.

    Returns:
        What the command would print (`head`, `notes`), the `number`, and the `lines` of its table:
        `after`, `encoder`, `protected`, `noise`, `times_noise` and `left`.
    """
    tried = try_photos(
        asked["file"],
        purifiers=asked["purifiers"],
        coders=asked["coders"],
        progress=reporting(tell),
    )
    shown = tried.summary
    return {
        "head": shown.head,
        "notes": list(shown.notes),
        "lines": list(shown.rows),
        "number": asked["number"],
    }


def audit_photos(asked: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Train attackers on a page's photos before and after, in a hurry, as `audit --quick` does.

    Args:
        asked: `protected` and `out`, folders; `attacker` with its settings.
        tell: as of `protect_photos`; once with `said`, how long it takes, before.

    Returns:
        What the command would print first and last (`verdicts`, `notes`), and its `sheets`: a
        `name`, and the picture under `after`.
    """
    out = Path(asked["out"])
    said = list[str]()

    def say(sentence: str) -> None:
        said.append(sentence)
        tell({"said": sentence})

    found = audit(
        asked["protected"],
        out,
        attacker=asked["attacker"],
        purifiers="none",
        progress=reporting(lambda told: tell(told | {"said": " ".join(said)})),
        say=say,
    )
    return {
        "verdicts": found.verdicts,
        "notes": without_folder(found.sentences, Path(asked["protected"])),
        "sheets": [{"name": s.stem, "after": str(s)} for s in sorted(out.glob("*.png"))],
    }


def _saved(picture: Image.Image, path: Path) -> Path:
    """Write a picture for browsers."""
    with atomic_write(path) as part:
        picture.save(part, "PNG")
    return path


KINDS: Mapping[str, Callable[[Mapping[str, Any], Tell], dict[str, Any]]] = {
    "protect": protect_photos,
    "preview": preview,
    "estimate": estimate_time,
    "edit": edit,
    "left": what_is_left,
    "audit": audit_photos,
}
"""What can be asked for, by name."""
