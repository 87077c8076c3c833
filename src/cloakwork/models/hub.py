"""Folders of published weights: given as a folder, or fetched by hub id.

safetensors only, and no network unless the user named a hub id.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from importlib.util import find_spec
from pathlib import Path

from cloakwork.errors import Unscored, UserError
from cloakwork.files import ASSETS, hash_files
from cloakwork.registry import APART

MODEL_PATTERNS = ["*.json", "*.txt", "*.safetensors"]
PACKAGES = Path(__file__).parents[3] / "packages"  # of a checkout: the other distributions


def folder(name: str) -> Path:
    """Return the folder of a metric's model: as given, or the hub's snapshot of a hub id.

    Raises:
        Unscored: neither a folder here nor to be had from the hub, or without safetensors.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        if not is_id(name):
            raise Unscored(
                f"There is no model folder '{name}'; give a folder or a hub id like owner/name."
            )
        path = fetch(name, MODEL_PATTERNS, what="model", failure=Unscored)
    if not (path / "config.json").is_file() or not list(path.glob("*.safetensors")):
        raise Unscored(
            f"The model '{name}' has no config.json or no safetensors weights. "
            "Pickle files are never loaded; convert them to safetensors."
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
    """Return the folder of a model: an embedded one's, as given, or the hub's snapshot.

    Args:
        name: one of `embedded`, a folder or a hub id.
        wanted, unwanted: patterns of files, to be fetched from the hub or not.
        what: what the user calls it, such as "model".
        kind: what a folder of it holds, such as "pipeline".
        advice: what may be given beside a hub id.
        embedded: of models that go by a name of their own, name -> folder under assets/; one of
            `registry.APART` is where `apart` finds it.

    Raises:
        UserError: neither of the three, or a hub that cannot be reached, or a distribution that is
            not here.
    """
    if embedded and name in embedded:
        return _installed(name) if name in APART else ASSETS / embedded[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if not is_on_hub(name, embedded or {}):
        raise UserError(f"There is no {what} '{name}'; give {advice} or a hub id like owner/name.")
    return fetch(name, wanted, what=kind, failure=UserError, unwanted=unwanted)


def apart(name: str) -> Path | None:
    """Return the folder of a model of `registry.APART`, a checkout's own before an installed one.

    Returns:
        None where it is not on this machine.
    """
    package = APART[name]
    spec = find_spec(package)
    installed = (spec and spec.submodule_search_locations) or ()
    places = [PACKAGES / package.replace("_", "-") / package, *map(Path, installed)]
    return next((p / name for p in places if (p / name / "model_index.json").is_file()), None)


def _installed(name: str) -> Path:
    found = apart(name)
    if found is None:
        distribution = APART[name].replace("_", "-")
        raise UserError(
            f"The model '{name}' is not on this machine: its weights come in the distribution "
            f"{distribution}, which is packages/{distribution} of cloakwork's repository (its "
            "README.md says whether they are there yet); install that with pip."
        )
    return found


def is_on_hub(name: str, embedded: Container[str] = ()) -> bool:
    """Return whether a name is taken for a hub id: nothing of that name is here.

    >>> is_on_hub("owner/name"), is_on_hub("tiny", ["tiny"]), is_on_hub("/home")
    (True, False, False)
    """
    path = Path(name).expanduser()
    here = name in embedded or path.exists() or path.parent.is_dir()
    return not here and is_id(name)


def is_id(name: str) -> bool:
    """Return whether a name could be a hub id.

    >>> is_id("openai/clip-vit-base-patch32"), is_id("photos/of/me"), is_id("tiny")
    (True, False, False)
    """
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def fetch(
    name: str,
    wanted: list[str],
    *,
    what: str,
    failure: type[Exception],
    unwanted: list[str] | None = None,
) -> Path:
    """Return the folder of the hub's snapshot of a hub id, with the files that match `wanted`.

    Args:
        name: the hub id.
        wanted, unwanted: patterns of files that are fetched or not.
        what: what a folder of it holds, such as "pipeline".
        failure: the exception that is raised when it cannot be had.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=unwanted))
    except Exception as error:
        raise failure(
            f"The model '{name}' is neither a folder here nor could it be fetched from the hub "
            f"({type(error).__name__}). Check the spelling and the network, or give the folder of "
            f"a downloaded {what}."
        ) from error


def cached(name: str, wanted: list[str], unwanted: list[str] | None = None) -> Path | None:
    """Return the folder of a hub id's copy on this machine, as of `fetch`; the hub is not asked.

    Returns:
        None where there is none; it may lack files that were not fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name, allow_patterns=wanted, ignore_patterns=unwanted, local_files_only=True
        )
    except Exception:  # the hub's own, of many kinds
        return None
    return Path(folder)


def copies() -> list[str]:
    """Return the hub ids of which anything is kept on this machine; the hub is not asked."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        kept = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return []
    return sorted(repo.repo_id for repo in kept if repo.repo_type == "model")


def identity(name: str) -> str:
    """Return what tells weights apart in a key: a digest of local ones, a file or a folder.

    Returns:
        The first 12 hex digits of a sha256; of a hub id, and of anything else that is not on this
        machine, the name itself.

    >>> identity("owner/name")
    'owner/name'
    """
    if not name:
        return ""
    path = Path(name).expanduser()
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    return hash_files(files) if files else name
