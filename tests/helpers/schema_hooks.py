"""For schemathesis: what a photo is, which no schema can say."""

from __future__ import annotations

import io
from typing import Any

import schemathesis
from PIL import Image

FILE = io.BytesIO()
Image.new("RGB", (64, 64), (1, 2, 3)).save(FILE, "BMP", dpi=(72, 72))
# as text, which is how schemathesis holds it: all bytes of this very file are ASCII
PHOTO = FILE.getvalue().decode("ascii")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Send a photo where the schema is kept."""
    kept = case.meta is None or case.meta.generation.mode.is_positive
    if kept and isinstance(case.body, dict) and "photo" in case.body:
        case.body["photo"] = PHOTO
