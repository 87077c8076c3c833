"""Flags and texts that several commands share."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro
from rich.filesize import decimal
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, UseAppendAction, arg

from cloakwork.cli.terminal import plain, say
from cloakwork.errors import UserError
from cloakwork.models.names import with_parts
from cloakwork.workflows.defaults import PROMPT

T = TypeVar("T")

SPEC = "NAME[:PRESET][:FIELD=VALUE,...]"
QUALITY = "(default: 95 for JPEG, lossless WebP)"
PARTS = (
    "folder of what a model in a single file lacks: tokenizer/, text_encoder_3/ and so on, as in a "
    "diffusers pipeline of its kind; configs that lie there go before those that are known"
)
FROM_RECORDS = "(default: those that the records beside the photos name)"


@dataclass(frozen=True)
class ThreatFlags:
    """Who attacks, and with what."""

    victim: Annotated[str, arg(metavar="MODEL")] = "tiny"
    """model the attacker uses: tiny, tiny-b, a diffusers folder, a hub id (which is then fetched)
    or a safetensors file; +FILE behind it adds a LoRA"""
    parts: Annotated[Path | None, arg(metavar="FOLDER", help=PARTS)] = None
    prompt: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="TEXT", help_behavior_hint=f"(repeatable, default: {PROMPT})"),
    ] = ()
    """what the attacker asks for"""
    prompts: Annotated[Path | None, arg(metavar="FILE")] = None
    """text file with a prompt a line; blank lines are passed over"""
    purifier: Annotated[str, arg(metavar="SPEC+...")] = ""
    """what the attacker runs the photos through first, in order"""
    denoiser: Annotated[str, arg(metavar="MODEL")] = "tiny"
    """what purifiers that diffuse pixels use: tiny, a diffusers folder (DDPMPipeline) or a hub id;
    others use the victim"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """what the models compute in"""


def parse(
    flags: type[T], command: str, about: str, words: Sequence[str], *, pairs: bool = False
) -> T:
    """Parse a command's words; its help and what is wrong with them are printed.

    Args:
        flags: dataclass of them.
        command: its name.
        about: its help.
        words: the command line after its name.
        pairs: every flag that is on or off has a `--no-...` beside it.

    Raises:
        SystemExit: help was asked for, or the words are wrong.
    """

    def parsed(words: Sequence[str]) -> T:
        marks = (OmitArgPrefixes,) if pairs else (OmitArgPrefixes, FlagCreatePairsOff)
        prog = f"cloakwork {command}"
        return tyro.cli(flags, prog=prog, description=about, args=words, config=marks)

    harmless = [plain(word) for word in words]
    if harmless == list(words):
        return parsed(words)
    try:
        with redirect_stderr(io.StringIO()) as said:
            return parsed(words)
    except SystemExit as stop:
        if stop.code:
            parsed(harmless)  # says the same in colour, and stops
            say(said.getvalue(), error=True)
        raise


def parse_flags(
    command: str,
    about: str,
    flags: type,
    words: list[str],
    *,
    how: type[ThreatFlags] = ThreatFlags,
) -> tuple[Any, ThreatFlags]:
    """Parse a command's own flags, and who attacks.

    Args:
        command: its name.
        about: its help.
        flags: dataclass of its own flags.
        words: the command line after its name.
        how: dataclass of who attacks, where a command has flags of its own for that.
    """
    parts = [("files", Annotated[flags, FlagCreatePairsOff]), ("how", how)]
    parsed = parse(make_dataclass("Flags", parts, frozen=True), command, about, words, pairs=True)
    (victim,) = with_parts([parsed.how.victim], parsed.how.parts)
    return parsed.files, replace(parsed.how, victim=victim)


def ending(format: str) -> str:
    """Return the ending of files of a format, as `find_sets` takes it.

    >>> ending("jpg"), ending("same")
    ('.jpg', 'same')
    """
    return format if format == "same" else f".{format}"


def file_size(files: Sequence[Path]) -> str:
    """Return the size of files together, as people read it; "unknown" where one is gone."""
    if not all(file.is_file() for file in files):
        return "unknown"
    return decimal(sum(file.stat().st_size for file in files))


def read_prompts(flags: ThreatFlags) -> tuple[str, ...]:
    """Return the prompts of the flags and of the file, without blank lines and repetitions.

    Raises:
        UserError: the file cannot be read, or holds no prompt.
    """
    lines = list(flags.prompt)
    if flags.prompts:
        try:
            text = flags.prompts.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"The prompts file {flags.prompts} cannot be read ({error}). "
                "Give a text file in UTF-8."
            ) from None
        found = [line.strip() for line in text.splitlines() if line.strip()]
        if not found:
            raise UserError(f"The prompts file {flags.prompts} holds no prompt. Write one a line.")
        lines += found
    return tuple(dict.fromkeys(lines)) or (PROMPT,)
