"""What protections need of a surrogate, as their modules say by NEEDS and USES_SURROGATES: a whole
model, an encoder alone, or none at all.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from cloakwork import registry
from cloakwork.errors import UserError


def needs(module: ModuleType, config: Any) -> str:
    """Return what a protection needs of a surrogate with these settings.

    Its module says so by NEEDS: "model" (which is taken for granted), "encoder", or "encoder if
    FIELD=VALUE".

    Returns:
        "encoder" where an encoder alone will do, "model" where a whole model is asked for.
    """
    kind, _, condition = str(getattr(module, "NEEDS", "model")).partition(" if ")
    field, _, value = condition.partition("=")
    met = not condition or str(getattr(config, field, None)) == value
    return "encoder" if kind == "encoder" and met else "model"


def encoder_protections() -> list[str]:
    """Return the protections for which an encoder alone will do, each with the setting it takes.

    >>> encoder_protections()[0], encoder_protections()[2]
    ('dct_shield', 'mist with mode=textural')
    """
    found = ((file.stem, _constant(file, "NEEDS")) for file in registry.files("protections"))
    words = [f"{name}{need.removeprefix('encoder')}" for name, need in found if need]
    return [word.replace(" if ", " with ") for word in words]


def encoder_refused(protection: str, encoders: Sequence[str]) -> UserError:
    """Return the error for encoders alone given to a protection that needs a whole model.

    >>> str(encoder_refused("aspl", ["sd:tiny"]))[:66]
    "'aspl' needs a whole model here, and sd:tiny is an encoder alone; "
    """
    fit = encoder_protections()
    are = "is an encoder" if len(encoders) == 1 else "are encoders"
    return UserError(
        f"'{protection}' needs a whole model here, and {' and '.join(encoders)} {are} alone; name "
        f"a model such as tiny, or take {', '.join(fit[:-1])} or {fit[-1]}."
    )


def surrogates_in_words(protection: str) -> str:
    """Return what a protection of the package can be computed against; "" for none at all.

    >>> surrogates_in_words("pid"), surrogates_in_words("mist"), surrogates_in_words("noise")
    ('models and encoders', 'models; with mode=textural, encoders too', '')
    """
    (file,) = [file for file in registry.files("protections") if file.stem == protection]
    if _constant(file, "USES_SURROGATES", True) is False:
        return ""
    need, _, condition = str(_constant(file, "NEEDS", "model")).partition(" if ")
    if condition:
        return f"models; with {condition}, encoders too"
    return "models and encoders" if need == "encoder" else "models"


def _constant(file: Path, name: str, otherwise: Any = "") -> Any:
    """Return a module's constant, read without importing it; `otherwise` where it has none."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    return otherwise
