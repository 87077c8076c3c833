"""Read parts of models through diffusers and transformers, with one message when they cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from cloakwork.errors import UserError


def read_part(
    kind: str, folder: Path, what: str, failure: type[Exception] = UserError, **options: Any
) -> Any:
    """Read a part of a model (or a whole pipeline) from a folder.

    Args:
        kind: library and class, such as "diffusers.UNet2DModel".
        folder: where its configuration and its weights lie.
        what: what the user calls it, such as "The denoiser in 'photos/ddpm'".
        failure: the exception that says so when it cannot be read.
        options: further arguments of the class's `from_pretrained`.

    Raises:
        failure: the files are damaged, or hold something else.
    """
    library, _, name = kind.rpartition(".")
    with reading(what, failure):
        return getattr(import_module(library), name).from_pretrained(folder, **options)


@contextmanager
def reading(what: str, failure: type[Exception] = UserError) -> Iterator[None]:
    """Read something through the libraries, quietly, and say in one sentence that it cannot be.

    Args:
        what, failure: as of `read_part`.
    """
    quiet()
    try:
        yield
    except (UserError, failure):
        raise
    except Exception as error:  # damaged files make the libraries raise nearly anything
        reason, *_ = str(error).splitlines() or [""]
        reason = reason.rstrip(" .")
        raise failure(f"{what} could not be read ({type(error).__name__}: {reason}).") from error


def quiet() -> None:
    """Silence progress bars for local files, and advice about torchvision, which is optional.

    The advice comes as soon as a class is imported, so this has to come first.
    """
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
