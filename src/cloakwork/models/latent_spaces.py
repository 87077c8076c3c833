"""The latent spaces that today's models share, by name, and what stands for each on this machine.

A family of models has one autoencoder, which turns photos into what its denoisers see. `NAME:full`
is that one; `NAME:tiny` is a small network that was trained to give the same latents. Which of them
a bare name means is a matter of the device. Nothing is fetched unless the user says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.files import ASSETS
from cloakwork.models import hub

VERSIONS = ("tiny", "full")
ALL = "all"  # stands for every family that is at hand
STUDENTS = ASSETS / "encoders"  # small versions that come with the package, a folder for each
BORROWED = {"sd": ASSETS / "tiny" / "vae"}  # learned from that family's TAESD, as the others did
CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")


@dataclass(frozen=True)
class OnHub:
    """Where an encoder or a whole model can be fetched from, as a folder of diffusers."""

    id: str
    megabytes: int
    """size of its weights, about"""
    subfolder: str = ""


@dataclass(frozen=True)
class LatentSpace:
    """A family of models that share an autoencoder."""

    name: str
    models: str
    """which models they are"""
    sizes: tuple[int, ...]
    """sides of the square pictures that they are trained and used at, pixels"""
    full: OnHub
    """their own encoder"""
    tiny: OnHub | None
    """a small version, where the package does not bring one; None: nobody has published one that
    diffusers reads"""


SPACES = {
    space.name: space
    for space in (
        LatentSpace(
            "sd",
            "Stable Diffusion 1.x and 2.x",
            (512,),
            OnHub("stable-diffusion-v1-5/stable-diffusion-v1-5", 335, "vae"),
            OnHub("madebyollin/taesd", 10),
        ),
        LatentSpace(
            "sdxl",
            "Stable Diffusion XL, Pony, Illustrious, NoobAI",
            (512, 1024),
            OnHub("stabilityai/stable-diffusion-xl-base-1.0", 335, "vae"),
            OnHub("madebyollin/taesdxl", 10),
        ),
        LatentSpace(
            "sd3",
            "Stable Diffusion 3 and 3.5",
            (512, 1024),
            OnHub("stabilityai/stable-diffusion-3.5-medium", 168, "vae"),
            OnHub("madebyollin/taesd3", 10),
        ),
        LatentSpace(
            "flux",
            "FLUX.1, Z-Image, HiDream-I1, Chroma",
            (512, 1024),
            OnHub("black-forest-labs/FLUX.1-schnell", 168, "vae"),
            OnHub("madebyollin/taef1", 10),
        ),
        LatentSpace(
            "flux2",
            "FLUX.2, Ideogram 4, ERNIE-Image",
            (512, 1024),
            OnHub("black-forest-labs/FLUX.2-klein-4B", 168, "vae"),
            None,
        ),
        LatentSpace(
            "qwen",
            "Qwen-Image and -Edit, Wan 2.1, Krea 2",
            (512, 1024),
            OnHub("Qwen/Qwen-Image", 254, "vae"),
            None,
        ),
        LatentSpace(
            "sana",
            "Sana",
            (512, 1024),
            OnHub("mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers", 1250),
            None,
        ),
    )
}


def knows(name: str) -> bool:
    """Return whether a name is that of a family with a version, as in `sd3:tiny`.

    >>> knows("sd3:tiny"), knows("sd3"), knows("tiny")
    (True, False, False)
    """
    family, _, version = name.partition(":")
    return family in SPACES and version in VERSIONS


def at_hand(name: str) -> Path | None:
    """Return the folder of a family's version on this machine; the hub is not asked.

    Args:
        name: such as `sd3:tiny`.
    """
    family, _, version = name.partition(":")
    if version == "tiny" and (student := _student(family)):
        return student
    source = _source(name)
    copy = source and hub.cached(source.id, _patterns(source))
    folder = copy and copy / source.subfolder if source else None
    return folder if folder and _holds_encoder(folder) else None


def embedded(name: str) -> bool:
    """Return whether a family's version comes with the package."""
    family, _, version = name.partition(":")
    return version == "tiny" and _student(family) is not None


def folder(name: str) -> Path:
    """Return the folder of a family's version.

    Raises:
        UserError: it is not on this machine.
    """
    found = at_hand(name)
    if found is None:
        raise UserError(_absent(name))
    return found


def spelled(names: Iterable[str], device: str = "auto", *, fetch: bool = False) -> list[str]:
    """Return surrogates with `all` and families written out, each with its version.

    On a CPU a family is its small version where there is one at hand, on other devices its own
    encoder.

    Args:
        names: of surrogates; those that are no families stay as they are.
        device: what they will run on, as `device.pick_device` takes it.
        fetch: fetch from the hub what is not on this machine; `all` is then every family.

    Raises:
        UserError: a version that there is none of, or that is not on this machine.

    >>> spelled(["tiny", "owner/name"])
    ['tiny', 'owner/name']
    """
    written = []
    for name in names:
        family, _, version = name.partition(":")
        if name != ALL and family not in SPACES:
            written.append(name)
        elif name == ALL:
            order = _order(device)
            written += [found for each in SPACES if (found := _chosen(each, order, fetch))]
        else:
            versions = _order(device) if not version else (_checked(family, version),)
            written.append(_chosen(family, versions, fetch) or _wanted(family, versions))
    if ALL in names and not any(map(knows, written)):
        each = [_source(_wanted(family, _order(device))) for family in SPACES]
        size = sum(source.megabytes for source in each if source)
        raise UserError(
            "No family's encoder is on this machine; --fetch fetches one for each from the hub "
            f"(about {size} MB), or name one family alone."
        )
    for name in written:
        if knows(name) and at_hand(name) is None:
            _fetch(name, fetch)
    return list(dict.fromkeys(written))


def in_words(names: Sequence[str]) -> str:
    """Return what encoders of families are, in words.

    >>> in_words(["sd:tiny", "flux2:tiny"])
    "small versions of two latent spaces (sd, flux2), not the models' own encoders"
    >>> in_words(["sd:full"])
    'the own encoder of one latent space (sd)'
    """
    parts = []
    for version in VERSIONS:
        of = [name.partition(":")[0] for name in names if name.endswith(f":{version}")]
        one = len(of) == 1
        spaces = f"{NUMBERS[len(of)]} latent space{'' if one else 's'} ({', '.join(of)})"
        if of and version == "full":
            parts.append(f"the own encoder{'' if one else 's'} of {spaces}")
        elif of:
            small = "a small version" if one else "small versions"
            own = "model's own encoder" if one else "models' own encoders"
            parts.append(f"{small} of {spaces}, not the {own}")
    return ", and ".join(parts)


def offers(name: str) -> str:
    """Return what is to be said of a family's version in a list; "" where there is none such.

    >>> offers("qwen:tiny")
    ''
    """
    if at_hand(name):
        return "comes with the package" if embedded(name) else "on this machine"
    source = _source(name)
    return f"--fetch fetches {source.id}, about {source.megabytes} MB" if source else ""


def _student(family: str) -> Path | None:
    """Return the folder of the small version that comes with the package."""
    places = [STUDENTS / family, BORROWED.get(family)]
    return next((place for place in places if place and _holds_encoder(place)), None)


def _source(name: str) -> OnHub | None:
    family, _, version = name.partition(":")
    return SPACES[family].tiny if version == "tiny" else SPACES[family].full


def _patterns(source: OnHub) -> list[str]:
    """Return which of a repository's files make the encoder."""
    return [str(Path(source.subfolder, file).as_posix()) for file in (CONFIG, WEIGHTS)]


def _holds_encoder(folder: Path) -> bool:
    return all((folder / file).is_file() for file in (CONFIG, WEIGHTS))


def _order(device: str) -> tuple[str, ...]:
    """Return the versions of a family, that which suits the device first."""
    from cloakwork.models.device import pick_device

    return VERSIONS if pick_device(device).type == "cpu" else VERSIONS[::-1]


def _checked(family: str, version: str) -> str:
    """Return the version that a user named.

    Raises:
        UserError: there is none such.
    """
    known = [v for v in VERSIONS if v == "full" or SPACES[family].tiny or _student(family)]
    if version in known:
        return version
    if version == "tiny":
        raise UserError(f"There is no small version of {family}; name {family}:full.")
    choice = " or ".join(f"{family}:{v}" for v in known)
    raise UserError(f"There is no '{family}:{version}'; give {choice}.")


def _chosen(family: str, order: Sequence[str], fetch: bool) -> str | None:
    """Return the first version of a family that is at hand, or that may be fetched."""
    names = [f"{family}:{version}" for version in order]
    here = next((name for name in names if at_hand(name)), None)
    return here or (_wanted(family, order) if fetch else None)


def _wanted(family: str, order: Sequence[str]) -> str:
    """Return the first version of a family that there is anywhere."""
    return next(name for name in (f"{family}:{v}" for v in order) if _source(name))


def _absent(name: str) -> str:
    """Return the sentence on an encoder that is not here."""
    here, source = f"The encoder {name} is not on this machine", _source(name)
    if source is None:
        return f"{here}, and nowhere to be fetched from."
    return f"{here}; --fetch fetches it from the hub ({source.id}, about {source.megabytes} MB)."


def _fetch(name: str, allowed: bool) -> None:
    """Fetch an encoder from the hub.

    Raises:
        UserError: it was not allowed, or the hub does not give it.
    """
    source = _source(name)
    if not allowed or source is None:
        raise UserError(_absent(name))
    hub.fetch(source.id, _patterns(source), what="autoencoder", failure=UserError)
    folder(name)
