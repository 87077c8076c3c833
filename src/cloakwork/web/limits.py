"""How much one page, and all of them together, may ask of the machine."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What is taken; beyond it comes a refusal in one sentence, or a wait."""

    photos: int = 200
    """of one page"""
    file_bytes: int = 100 * MB
    """of one photo's file"""
    page_bytes: int = 2000 * MB
    """of all files of a page"""
    at_once: int = 4
    """files that are received at the same time; further ones are to be sent again later"""
    pages: int = 20
    """that hold photos or jobs at the same time"""
    jobs: int = 20
    """that run or wait, of all pages"""
    question_bytes: int = 20_000
    """of a question in JSON"""
    idle_seconds: float = 60.0
    """after which the files of a page that nobody looks at any more are deleted"""

    def photos_refused(self, count: int) -> str:
        """Return the sentence on one photo too many; "" where there is room."""
        if count < self.photos:
            return ""
        return f"A page takes {self.photos} photos. Protect these first, then choose the others."

    def bytes_refused(self, size: int, already: int) -> str:
        """Return the sentence on a file that is too large; "" where it is not.

        Args:
            size: of the file, as far as it is known.
            already: bytes of the page's other files.

        >>> Limits().bytes_refused(200 * MB, 0)
        'The file has more than the 100 MB that are taken; make it smaller.'
        >>> Limits().bytes_refused(5, 0)
        ''
        """
        if size > self.file_bytes:
            most = self.file_bytes // MB
            return f"The file has more than the {most} MB that are taken; make it smaller."
        if already + size > self.page_bytes:
            most = self.page_bytes // MB
            return f"A page takes {most} MB of photos. Protect these first, then choose the others."
        return ""
