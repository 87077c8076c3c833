"""Finds methods by name. The file is the registry: `protections/aspl.py` is the protection `aspl`.

Names and help are read with `ast`, so that listing them imports no method and no torch. A name with
a dot in it, such as `my_lab.mine`, is anybody's module.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from cloakwork.errors import UserError

# kind (a folder of this package) -> the function that a method of that kind has
FUNCTIONS = {
    "protections": "protect",
    "attackers": "attack",
    "purifiers": "purify",
    "metrics": "score",
}
KINDS = tuple(FUNCTIONS)
# ten seconds a photo; works against all attackers of docs/protections.md's main table
DEFAULT_PROTECTION = "pid"
# fourteen times its time; leaves less to attackers who compress, and to plain ones
STRONGEST_PROTECTION = "cloakwork"
# words in place of a method's name
ALIASES = {("protections", "strongest"): STRONGEST_PROTECTION}
# of a Config's field that came after results had been kept under the others: where it is at its
# default they stay valid
OMIT_FROM_KEY_AT_DEFAULT = {"late": True}
# of a field that has been renamed, in its metadata: the name by which keys know it
IN_KEY = "in key"
# what a foreign module's spec carries: its source, and its digest, as they were first seen
SEEN_SOURCE, SEEN_DIGEST = "cloakwork_source", "cloakwork_digest"
# of a Config's field with a text that names what photos show, as in "a photo of a person"
SUBJECT_PROMPT = {"subject_prompt": True}
# small models of ours, for which methods have a preset of their own, and their folders, under
# assets/ but for those below
EMBEDDED = {"tiny": "tiny", "tiny-b": "tiny-b", "tiny-dit": "tiny-dit"}
# those of them that have a distribution of their own, and its import package
APART = {"tiny-dit": "cloakwork_tiny_dit"}


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """What a metric's numbers mean: every metric module has one, by the name METRIC.

    Attributes:
        scope: "image": one number a picture; "set": one number for all pictures together.
        better: "higher" or "lower": which numbers speak for the pictures themselves, such as a
            likeness for an attacker's pictures; "" where neither does.
        range: smallest and largest number there can be, infinite ones included.
        unit: "share" (of pictures, 0 to 1), "dB", "1/255" or another; "" for a plain number.
        reference: what pictures are compared with: "originals" (one a picture, in the same order),
            "subject" (any clean photos of the subject) or None (nothing).
    """

    scope: Literal["image", "set"]
    better: Literal["higher", "lower", ""]
    range: tuple[float, float]
    unit: str
    reference: Literal["originals", "subject"] | None


def listing(kind: str) -> list[tuple[str, str]]:
    """Return name and summary of every method of a kind, sorted by name; import none of them.

    A summary is the first paragraph of a docstring.
    """
    return [(file.stem, _help(file)) for file in _files(kind)]


def named(kind: str, word: str) -> str:
    """Return the method's name that a word stands for, mostly itself.

    >>> named("protections", "strongest"), named("protections", "aspl")
    ('cloakwork', 'aspl')
    """
    return ALIASES.get((kind, word), word)


def load(kind: str, name: str) -> ModuleType:
    """Import the module of a method.

    Args:
        kind: one of KINDS.
        name: one of `listing(kind)`, or a module of the user's (`my_lab.mine`).

    Raises:
        UserError: an unknown name, or a module that lacks what a method needs.
    """
    if "." in name:
        return _foreign(kind, name)
    known = [file.stem for file in _files(kind)]
    if name not in known:
        raise unknown(
            kind.removesuffix("s"),
            name,
            known,
            "A method of your own goes by its module, such as my_lab.mine.",
        )
    return importlib.import_module(f"cloakwork.{kind}.{name}")


def config(module: ModuleType, preset: str | None = None, surrogates: Iterable[str] = ()) -> Any:
    """Return the method's Config as a preset has it.

    Args:
        module: of the method.
        preset: None: `tiny` where all surrogates are small (`is_small`), else `paper`.
        surrogates: names of the models that the method will be given.

    Raises:
        UserError: the method does not have the preset.
    """
    presets: dict[str, Any] = getattr(module, "PRESETS", {})
    if preset is None:
        small = all(map(is_small, surrogates))
        return presets.get("tiny" if small else "paper", module.Config())
    if preset not in presets:
        name = module.__name__
        short = name.rpartition(".")[2] if name.startswith("cloakwork.") else name
        raise unknown(f"{short} preset", preset, sorted(presets))
    return presets[preset]


def is_small(surrogate: str) -> bool:
    """Return whether a model is an embedded one, or the small version of an encoder.

    >>> is_small("tiny"), is_small("sd3:tiny"), is_small("sd3:full")
    (True, True, False)
    """
    return surrogate in EMBEDDED or surrogate.endswith(":tiny")


def model_kind(purifier: str) -> str:
    """Return the kind of model that a purifier asks for.

    Returns:
        "latent" (an LDM), "pixels" (a PixelDDPM) or "" (none).

    >>> model_kind("gridpure"), model_kind("jpeg")
    ('pixels', '')
    """
    return getattr(load("purifiers", purifier), "USES_MODEL", "")


def model_names(purifier: str, model: str, denoiser: str) -> tuple[str, ...]:
    """Return which of two models a purifier asks for, if any.

    Args:
        purifier: its name.
        model: name of a latent diffusion model.
        denoiser: name of a denoiser of pixels.

    >>> model_names("gridpure", "tiny", "adm"), model_names("jpeg", "tiny", "adm")
    (('adm',), ())
    """
    return {"latent": (model,), "pixels": (denoiser,)}.get(model_kind(purifier), ())


def instrument(module: ModuleType | None, config: Any) -> str:
    """Return the network that a method asks beside the models it is given, with its weights.

    Returns:
        A text for a key; "" for none.
    """
    return module.instrument(config) if hasattr(module, "instrument") else ""  # type: ignore[union-attr]


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
    found = ((file.stem, _constant(file, "NEEDS")) for file in _files("protections"))
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
    (file,) = [file for file in _files("protections") if file.stem == protection]
    if _constant(file, "USES_SURROGATES", True) is False:
        return ""
    need, _, condition = str(_constant(file, "NEEDS", "model")).partition(" if ")
    if condition:
        return f"models; with {condition}, encoders too"
    return "models and encoders" if need == "encoder" else "models"


def settings(config: Any) -> dict[str, Any]:
    """Return a Config as plain data for a key.

    Fields marked by `OMIT_FROM_KEY_AT_DEFAULT` are left out where they are at their default, and
    those that have been renamed since results were kept go by the name that `IN_KEY` says.

    >>> from dataclasses import field
    >>> @dataclass(frozen=True)
    ... class Config:
    ...     steps: int = 100
    ...     momentum: float = field(default=0.0, metadata=OMIT_FROM_KEY_AT_DEFAULT)
    >>> settings(Config()), settings(Config(momentum=0.9))
    ({'steps': 100}, {'steps': 100, 'momentum': 0.9})
    """
    later = {
        f.name
        for f in fields(config)
        if f.metadata.get("late") and getattr(config, f.name) == f.default
    }
    inner = {
        f.name: settings(value)
        for f in fields(config)
        if is_dataclass(value := getattr(config, f.name))
    }
    named = {f.name: f.metadata.get(IN_KEY, f.name) for f in fields(config)}
    return {named[k]: value for k, value in (asdict(config) | inner).items() if k not in later}


def unknown(what: str, name: str, known: list[str], *advice: str) -> UserError:
    """Return the error for a mistyped name: what is nearest, what there is, further advice.

    >>> str(unknown("metric", "psnrr", ["psnr", "ssim"]))
    "There is no metric 'psnrr'; did you mean 'psnr'? Known: psnr, ssim."
    """
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"; did you mean '{near[0]}'?" if near else "."
    choice = f"Known: {', '.join(known)}." if known else "There is none."
    return UserError(" ".join([f"There is no {what} '{name}'{guess}", choice, *advice]))


def field_help(config: type) -> dict[str, str]:
    """Return the help of each field of a Config that has any: the text below it."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in pairwise(getattr(tree, "body", []))
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(below.value.value, str)
    }


def _files(kind: str) -> list[Path]:
    """Return the files of a kind's methods, or those of the recipes, sorted by name."""
    folder = "benchmark/recipes" if kind == "recipes" else kind
    return sorted((Path(__file__).parent / folder).glob("[!_]*.py"))


def summary(docstring: str | None) -> str:
    r"""Return the first paragraph of a docstring, on one line.

    >>> summary("Compresses photos\nas JPEG.\n\nDepartures: none.")
    'Compresses photos as JPEG.'
    """
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())


def _help(file: Path) -> str:
    """Return the summary of a file, read without importing it."""
    return summary(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))))


def _constant(file: Path, name: str, otherwise: Any = "") -> Any:
    """Return a module's constant, read without importing it; `otherwise` where it has none."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    return otherwise


def _foreign(kind: str, name: str) -> ModuleType:
    """Import a user's module, and check that it has what a method of its kind needs."""
    module = find_module(name)
    if missing := missing_parts(module, kind):
        raise UserError(
            f"The module '{name}' is not one of the {kind}: it lacks {', '.join(missing)}."
        )
    source_digest(module)  # now, while its file is still what was imported
    return module


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


def missing_parts(module: ModuleType, kind: str) -> list[str]:
    """Return what a method of this kind needs and the module does not have."""
    missing = []
    if type(getattr(module, "VERSION", None)) is not int:
        missing.append("VERSION (a whole number)")
    config = getattr(module, "Config", None)
    if not (
        isinstance(config, type)
        and is_dataclass(config)
        and getattr(config, "__dataclass_params__").frozen  # noqa: B009 - unknown to typing
    ):
        missing.append("Config (a frozen dataclass)")
    elif kind == "protections" and "budget" not in {field.name for field in fields(config)}:
        missing.append("Config.budget (largest change of a pixel, 1/255)")
    if kind == "metrics" and not isinstance(getattr(module, "METRIC", None), MetricInfo):
        missing.append("METRIC (a MetricInfo, as in cloakwork.metrics.psnr)")
    if not callable(getattr(module, FUNCTIONS[kind], None)):
        missing.append(f"{FUNCTIONS[kind]}() (a function)")
    return missing
