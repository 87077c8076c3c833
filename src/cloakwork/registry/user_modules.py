"""Modules of the user's own: how they are found by name, and known again by their source."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from cloakwork.errors import UserError

# what a module's spec carries: its source, and its digest, as they were first seen
SEEN_SOURCE, SEEN_DIGEST = "cloakwork_source", "cloakwork_digest"


def find_module(name: str) -> ModuleType:
    """Import any module by its dotted name; the working folder is searched too.

    Raises:
        UserError: the module, or what it imports, is not there.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(
            f"'{name}' is not the name of a module. Give it as in an import, such as my_lab.mine."
        )
    # the working folder comes last, so that no file in it takes the place of an installed package
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise UserError(
                f"There is no module '{name}' here ({Path.cwd()}) or among the installed packages."
            ) from None
        raise UserError(
            f"The module '{name}' needs '{error.name}', which is not installed."
        ) from error


def source_digest(module: ModuleType) -> str:
    """Compute the hash of a foreign module's source, and of what it imports that lies beside it.

    Beside it lies what is in the folder of its top-level package, but for installed packages. A
    process keeps the digest that it saw first, since it also keeps the code that it imported; a
    reloaded module gets another one.

    Returns:
        12 hex digits; "" for a module of this package, or one without a file.
    """
    file, spec = getattr(module, "__file__", None), module.__spec__
    if module.__name__.partition(".")[0] == "cloakwork" or not file or spec is None:
        return ""
    if SEEN_DIGEST not in vars(spec):
        sources = _sources_beside(module.__name__, Path(file))
        total = hashlib.sha256()
        for name, source in sorted(sources.items()):
            total.update(f"{name} {hashlib.sha256(source).hexdigest()}\n".encode())
        vars(spec)[SEEN_DIGEST] = total.hexdigest()[:12]
    return vars(spec)[SEEN_DIGEST]


def _sources_beside(name: str, file: Path) -> dict[str, bytes]:
    """Return the sources of a module and of all beside it that it imports, by their names."""
    depth = name.count(".") + (file.name == "__init__.py")
    root, installed = file.parents[depth], {sysconfig.get_path(p) for p in ("purelib", "platlib")}
    sources, todo = {}, [name]
    while todo:
        found = todo.pop()
        place = root.joinpath(*found.split("."))
        files = [place / "__init__.py", place.with_name(f"{place.name}.py")]
        path = file if found == name else next((f for f in files if f.is_file()), None)
        foreign_package = found.partition(".")[0] != name.partition(".")[0]
        if path is None or found in sources or found.partition(".")[0] == "cloakwork":
            continue
        if foreign_package and (str(root) in installed or root.name == "dist-packages"):
            continue
        sources[found] = _seen_source(found, path)
        todo += _imports(sources[found], found, path.name == "__init__.py")
    return sources


def _seen_source(name: str, path: Path) -> bytes:
    """Return a module's source as it was when it was first looked at after its import."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    seen = {} if spec is None else vars(spec)
    return seen.setdefault(SEEN_SOURCE, path.read_bytes())


def _imports(source: bytes, name: str, is_package: bool) -> Iterator[str]:
    """Yield all that a source may import, parent packages included.

    >>> sorted(set(_imports(b"from . import a", "lab.mine", False)))
    ['lab', 'lab.a']
    """
    package = name if is_package else name.rpartition(".")[0]
    parents, wanted = name.split("."), []
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):  # compiled
        nodes = []
    for node in nodes:
        if isinstance(node, ast.Import):
            wanted += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, package) if node.level else base
            wanted += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    for dotted in [".".join(parents[:-1]), *wanted]:
        parts = dotted.split(".") if dotted else []
        yield from (".".join(parts[: i + 1]) for i in range(len(parts)))
