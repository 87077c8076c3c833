"""How much the service takes, and how long it keeps what is done."""

from __future__ import annotations

from dataclasses import dataclass

from cloakwork.errors import UserError, check_ranges
from cloakwork.web.limits import MB


@dataclass(frozen=True)
class Limits:
    """What is taken; beyond it comes a refusal in one sentence."""

    photo_bytes: int = 50 * MB
    """of one photo's file"""
    pixels: int = 50 * MB
    """of one photo"""
    jobs: int = 100
    """that wait or are being sent"""
    upload_seconds: float = 60.0
    """in which a photo has to arrive"""
    job_seconds: float = 600.0
    """that one job may take"""
    keep_seconds: float = 3600.0
    """after which results that nobody fetched are removed"""

    def __post_init__(self) -> None:
        endless = 10**12
        check_ranges(
            self,
            photo_bytes=(1, endless),
            pixels=(64 * 64, 200 * MB),
            jobs=(1, endless),
            upload_seconds=(0.001, endless),
            job_seconds=(0.001, endless),
            keep_seconds=(0.001, endless),
        )

    @property
    def body_bytes(self) -> int:
        """Of a whole request: the photo, and some fields."""
        return self.photo_bytes + 20_000

    def check_pixels(self, width: int, height: int) -> None:
        """Refuse a photo that is too large.

        Raises:
            UserError: it is.
        """
        if width * height > self.pixels:
            raise UserError(
                f"The photo is {width} x {height} pixels, where {self.pixels / MB:g} megapixels "
                "are taken; make it smaller."
            )

    @property
    def too_many_bytes(self) -> str:
        """The sentence on a file that is too large."""
        return (
            f"The photo's file has more than the {self.photo_bytes / MB:g} MB that are taken; "
            "make it smaller."
        )
