"""What is computed for the service, in a process of its own: one photo from file to file.

The pixels are those that `cloakwork protect --each` writes with the same settings. Records and
sheets are left out, since nobody would see them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloakwork import specs
from cloakwork.evaluation.run import protection_rng, run_protection
from cloakwork.evaluation.sources import Source, as_loaded
from cloakwork.metrics import linf
from cloakwork.models import loading
from cloakwork.photos.sizes import load_narrow
from cloakwork.serve.spool import THE_PHOTO
from cloakwork.state import RunState
from cloakwork.web.reporting import Tell, reporting
from cloakwork.web.work import MODEL
from cloakwork.workflows.protect_job import ProtectJob, check_config
from cloakwork.workflows.protect_photo import left_in, write_protected
from cloakwork.workflows.protect_surrogates import against, load_surrogates


def get_ready() -> None:
    """Load the model that most is computed with; it stays loaded."""
    loading.load(MODEL)


def protect_photo(asked: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Protect a photo.

    Args:
        asked: `photo`, a file; `out`, a folder; `protection`, with its settings as on the command
            line, and `settings` set last; `width` and `jpeg` as `protect` takes them (None: the
            photo's own, and PNG); `strip_gps` and `strip_metadata`.
        tell: as of `web.work.protect_photos`.

    Returns:
        The `file`'s name in `out`, its `width` and `height`, `bytes`, `budget_used` (1/255), what
            the file keeps of the protection (`left`, a share; None: all, losslessly), what it was
            computed `against`, and `notes`.
    """
    job, path = _job(asked), Path(asked["photo"])
    method, models = job.method, job.surrogates
    photo = load_narrow(path, job.width)
    source = Source((path,), (photo.digest,), width=job.width)
    (delta,) = run_protection(
        method,
        [as_loaded(photo.pixels).to(job.device)],
        models,
        clean=None,
        rng=protection_rng(job.seed, [source.key]),
        state=RunState(None, method.name, reporting(tell)),
    )
    output = Path(asked["out"]) / f"protected{job.suffix}"
    pixels, saved = write_protected(job, photo, output, delta)
    left = left_in(job, photo, output, pixels, saved.pixels)
    used = linf.score([saved.pixels], [photo.pixels], None, linf.Config()).item()
    return {
        "file": output.name,
        "width": saved.pixels.shape[-1],
        "height": saved.pixels.shape[-2],
        "bytes": output.stat().st_size,
        "budget_used": round(used, 3),
        "left": None if left is None else round(left, 3),
        "protection": specs.word(method),
        "against": against(models) or getattr(method.module, "TRAINED_AGAINST", ""),
        "notes": [note.replace(str(path), THE_PHOTO) for note in photo.notes],
    }


def _job(asked: Mapping[str, Any]) -> ProtectJob:
    """Check what is asked of `protect_photo`, and load the models for it."""
    jpeg, width = asked["jpeg"], asked["width"]
    method = specs.method("protections", asked["protection"], [MODEL], settings=asked["settings"])
    names = [MODEL] if getattr(method.module, "USES_SURROGATES", True) else []
    check_config(method.config, jpeg, names or None, width)
    models = load_surrogates(
        method,
        names,
        "auto",
        "float32",
        sample_posterior=False,
        low_memory=False,
        graphs=False,
    )
    return ProtectJob(
        method,
        models,
        0,
        None,
        ".png" if jpeg is None else ".jpg",
        jpeg,
        asked["strip_metadata"],
        asked["strip_gps"],
        width=width,
        halved=jpeg is not None,
    )


KINDS: Mapping[str, Callable[[Mapping[str, Any], Tell], dict[str, Any]]] = {
    "protect": protect_photo,
}
"""What can be asked for, by name."""
