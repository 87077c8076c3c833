"""Weights of other people's networks: a folder, or a hub id; safetensors only, and no network
unless the user named a hub id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloakwork.errors import Unscored, UserError
from cloakwork.files import ASSETS

WANTED = ["*.json", "*.txt", "*.safetensors"]


def folder(name: str) -> Path:
    """The folder of a model: as given, or the hub's snapshot of a hub id.

    Raises:
        Unscored: neither a folder here nor to be had from the hub, or without safetensors.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        if not is_id(name):
            raise Unscored(
                f"There is no model folder '{name}'; give a folder or a hub id like owner/name."
            )
        path = fetch(name, WANTED, what="model", failure=Unscored)
    if not (path / "config.json").is_file() or not list(path.glob("*.safetensors")):
        raise Unscored(
            f"The model '{name}' has no config.json or no safetensors weights; pickled weights are not read, convert them."
        )
    return path


def locate(
    name: str,
    wanted: list[str],
    *,
    what: str,
    kind: str,
    advice: str,
    embedded: Mapping[str, str] | None = None,
    unwanted: list[str] | None = None,
) -> Path:
    """The folder of a model that a user named: an embedded one's, as given, or the hub's snapshot.

    Args:
        name: one of `embedded`, a folder or a hub id.
        wanted, unwanted: patterns of files, to be fetched from the hub or not.
        what: what the user calls it, such as "model".
        kind: what a folder of it holds, such as "pipeline".
        advice: what may be given beside a hub id.
        embedded: of models that come with the package, name -> folder under assets/.

    Raises:
        UserError: neither of the three, or a hub that cannot be reached.
    """
    if embedded and name in embedded:
        return ASSETS / embedded[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists() or path.parent.is_dir() or not is_id(name):
        raise UserError(f"There is no {what} '{name}'; give {advice} or a hub id like owner/name.")
    return fetch(name, wanted, what=kind, failure=UserError, unwanted=unwanted)


def is_id(name: str) -> bool:
    """Whether this could be a hub id."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def fetch(
    name: str,
    wanted: list[str],
    *,
    what: str,
    failure: type[Exception],
    unwanted: list[str] | None = None,
) -> Path:
    """The hub's snapshot of a hub id, of files that match `wanted`; `failure` says why there is
    none.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=unwanted))
    except Exception as error:
        raise failure(
            f"The model '{name}' is neither a folder here nor could it be fetched from the hub ({type(error).__name__}); "
            f"check the spelling and the network, or give the folder of a downloaded {what}."
        ) from error


def quiet() -> None:
    """No progress bars for files that are here, and no advice about the optional torchvision."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def identity(name: str) -> str:
    """A digest of weights that are here, a file or a folder; else the name, as of a hub id; "" for
    none.
    """
    path = Path(name).expanduser() if name else None
    here = (
        [path]
        if path and path.is_file()
        else sorted(path.rglob("*.safetensors"))
        if path and path.is_dir()
        else []
    )
    return digest(here) if here else name


def digest(files: Iterable[Path]) -> str:
    """First 12 hex digits of the sha256 over files, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(files):
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:12]
