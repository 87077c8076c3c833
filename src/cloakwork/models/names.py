"""What a model's name says: a model, and with + what it is put together with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.models import hub
from cloakwork.registry import EMBEDDED

SAFETENSORS = ".safetensors"
# of files that may hold a pickle, which runs code when it is read
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")


@dataclass(frozen=True)
class Named:
    """A model's name, taken apart."""

    model: str
    """an embedded model, a folder, a hub id, or a single file"""
    parts: Path | None = None
    """the folder with what a single file lacks"""
    adapters: tuple[Path, ...] = ()
    """LoRA files, in the order in which they are added to the weights"""

    @property
    def file(self) -> Path | None:
        """The single file that the model is; None where it is none."""
        path = Path(self.model).expanduser()
        if path.is_dir() or self.model in EMBEDDED:
            return None
        known = path.suffix.lower() in (SAFETENSORS, *PICKLES)
        return path if known or path.is_file() else None

    def __str__(self) -> str:
        return "+".join(map(str, (self.model, *filter(None, [self.parts]), *self.adapters)))


def parse(name: str) -> Named:
    """Take a model's name apart: MODEL, or with more MODEL+FOLDER+FILE...

    The folder holds what a single file lacks; the files are LoRAs. A + that belongs to a path stays
    there.

    Raises:
        UserError: what follows a + is not there, or is neither.

    >>> parse("owner/name")
    Named(model='owner/name', parts=None, adapters=())
    """
    if "+" not in name or Path(name).expanduser().exists():
        return Named(name)
    pieces: list[str] = []
    for piece in name.split("+"):
        if pieces and not _stands(pieces[-1]):
            pieces[-1] += f"+{piece}"
        else:
            pieces.append(piece)
    model, *more = pieces
    paths = [Path(piece).expanduser() for piece in more]
    folders, files = ([p for p in paths if p.is_dir() == kind] for kind in (True, False))
    named = Named(model, folders[0] if folders else None, tuple(files))
    if faults := [*_faults_of_folders(named, folders), *_faults_of_files(files)]:
        raise UserError(*faults)
    return named


def with_parts(models: Sequence[str], parts: Path | None) -> list[str]:
    """Return models' names, each single file among them with the folder of what it lacks.

    Raises:
        UserError: none of them is a single file, or a name has such a folder already.
    """
    if parts is None:
        return list(models)
    if not parts.expanduser().is_dir():
        raise UserError(f"There is no folder '{parts}', which --parts names.")
    named = [parse(model) for model in models]
    if not any(of.file for of in named):
        raise UserError(
            f"--parts {parts} gives what a model in a single file lacks, and no model here is one; "
            "leave it out."
        )
    if twice := [of.model for of in named if of.file and of.parts]:
        raise UserError(
            f"'{twice[0]}' has a folder behind its + already; leave --parts out, or that folder."
        )
    return [str(Named(of.model, parts, of.adapters)) if of.file else str(of) for of in named]


def _stands(piece: str) -> bool:
    """Return whether a piece of a name is a name by itself."""
    path = Path(piece).expanduser()
    known = path.suffix.lower() in (SAFETENSORS, *PICKLES)
    return known or piece in EMBEDDED or path.exists() or hub.is_on_hub(piece)


def _faults_of_folders(named: Named, folders: Sequence[Path]) -> Iterable[str]:
    """Yield what is wrong with the folders behind the +."""
    if folders and not named.file:
        yield (
            f"'{folders[0]}' behind + gives what a model in a single file lacks, and "
            f"'{named.model}' is none; leave it out."
        )
    if len(folders) > 1:
        yield f"One folder may stand behind +, not {' and '.join(map(str, folders))}."


def _faults_of_files(files: Iterable[Path]) -> Iterable[str]:
    """Yield what is wrong with the files behind the +."""
    for file in files:
        if file.suffix.lower() in PICKLES:
            yield pickled(file)
        elif not file.is_file():
            yield (
                f"There is no '{file}', which stands behind + in a model's name; give a LoRA's "
                "safetensors file, or the folder with what a single file lacks."
            )


def pickled(file: Path) -> str:
    """Return the sentence on a file that holds a pickle."""
    return (
        f"'{file}' is a pickle, a kind of file that can run code, and such files are never loaded; "
        "take the same model's safetensors file."
    )
