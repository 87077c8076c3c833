"""What lies in the folder of a diffusers pipeline: its parts, and which of their files are read."""

from __future__ import annotations

from pathlib import Path

from cloakwork.errors import UserError

# folders of what has weights, and of what reads prompts, in any family
NETWORKS = ("vae", "unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
PROCESSOR = "processor"  # what makes a text encoder's view of pictures
PARTS = (*NETWORKS, *TOKENIZERS, PROCESSOR, "scheduler")
# what guidance leads away from without a negative prompt: zeros (true, the default), or ""
ZEROS = "force_zeros_for_empty_prompt"
DISTILLED = "is_distilled"  # whether pictures take no guidance (the default: they do)
# settings beside the parts that decide pictures, and their defaults
SETTINGS = {ZEROS: True, DISTILLED: False}
# files, any of these choices, without which a folder is not whole
OF_TOKENIZER = (("vocab.json", "merges.txt"), ("tokenizer.json",))
OF_PROCESSOR = (("preprocessor_config.json",),)
OF_SCHEDULER = (("scheduler_config.json",),)
HALF = "fp16"  # the variant whose weights are halves
UNREAD = "non_ema"  # the variant that nobody reads


def is_whole(folder: Path, choices: tuple[tuple[str, ...], ...]) -> bool:
    """Return whether a folder has all files of one of the choices."""
    return any(all((folder / file).is_file() for file in files) for files in choices)


def full_weights(folder: Path) -> list[Path]:
    """Return a part's weights in full precision."""
    return [file for file in _files(folder, ".safetensors") if not _is_of(file, HALF, UNREAD)]


def half_weights(folder: Path) -> list[Path]:
    """Return a part's weights of the variant fp16."""
    return [file for file in _files(folder, ".safetensors") if _is_of(file, HALF)]


def variant(folder: Path) -> str | None:
    """Return the variant by which diffusers finds a part's weights: fp16 where there are no others.

    Raises:
        UserError: there are no safetensors.
    """
    if full_weights(folder):
        return None
    if half_weights(folder):
        return HALF
    raise UserError(
        f"The folder '{folder.parent}' has no safetensors weights in {folder.name}/. "
        "Pickle files are never loaded; convert them first "
        "(diffusers: save_pretrained(..., safe_serialization=True))."
    )


def read_files(folder: Path) -> list[Path]:
    """Return the files of a part that are read: configs, vocabulary, and weights of one variant."""
    left_out = (HALF, UNREAD) if full_weights(folder) else (UNREAD,)
    files = _files(folder, ".safetensors", ".json", ".txt", ".jinja")
    return [f for f in files if not _is_of(f, *left_out)]


def _files(folder: Path, *endings: str) -> list[Path]:
    return [file for file in sorted(folder.glob("*")) if file.suffix in endings and file.is_file()]


def _is_of(file: Path, *variants: str) -> bool:
    return any(f".{variant}" in file.name for variant in variants)
