"""Folders of photos, as several benchmarks read them."""

from __future__ import annotations

from pathlib import Path

from cloakwork.decoding import EXTENSIONS


def within(folder: Path) -> list[Path]:
    """The folders of people, or of things, in a folder."""
    return sorted(p for p in folder.iterdir() if p.is_dir())


def files(folder: Path) -> list[Path]:
    """The photos that lie in a folder."""
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in EXTENSIONS)


def halves(folder: Path) -> tuple[list[Path], list[Path]]:
    """Photos of a thing: those that thieves learn from, and the others."""
    photos = files(folder)
    middle = (len(photos) + 1) // 2
    return photos[:middle], photos[middle:]


def noun(name: str) -> str:
    """What prompts call a thing whose folder has this name, such as "rc car" or, of dog2, "dog"."""
    return name.rstrip("0123456789").replace("_", " ")
