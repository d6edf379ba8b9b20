"""The bytes of a file that are known page by page: what was never written is a hole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

__all__ = ["FileBytes"]

_PAGE_BYTES = 4096
_ZEROS = bytes(_PAGE_BYTES)


class FileBytes:
    """A file's size and its pages that were written.

    Attributes:
        size_bytes: how long it is; `write` and `resize` change it.
    """

    __slots__ = ("_pages", "size_bytes")

    def __init__(self, size_bytes: int = 0, pages: Mapping[int, bytes] | None = None) -> None:
        self.size_bytes = size_bytes
        self._pages = dict(pages or {})

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return those of a file."""
        size_bytes, pages = 0, {}
        with path.open("rb") as file:
            for index, page in enumerate(iter(lambda: file.read(_PAGE_BYTES), b"")):
                size_bytes += len(page)
                whole = page.ljust(_PAGE_BYTES, b"\0")
                if whole != _ZEROS:
                    pages[index] = whole
        return cls(size_bytes, pages)

    def copy(self) -> Self:
        """Return others of the same bytes."""
        return type(self)(self.size_bytes, self._pages)

    def write(self, data: bytes, offset: int) -> None:
        """Put bytes at an offset; the file grows if need be."""
        self.size_bytes = max(self.size_bytes, offset + len(data))
        done = 0
        while done < len(data):
            index, start = divmod(offset + done, _PAGE_BYTES)
            piece = data[done : done + _PAGE_BYTES - start]
            if len(piece) < _PAGE_BYTES:
                old = self._pages.get(index, _ZEROS)
                piece = old[:start] + piece + old[start + len(piece) :]
                done += _PAGE_BYTES - start
            else:
                done += _PAGE_BYTES
            self._pages[index] = bytes(piece)

    def zero(self, offset: int, length: int) -> None:
        """Make bytes zero; the size stays."""
        end = min(offset + length, self.size_bytes)
        for index in [one for one in self._pages if offset < (one + 1) * _PAGE_BYTES]:
            first = max(offset - index * _PAGE_BYTES, 0)
            past = min(end - index * _PAGE_BYTES, _PAGE_BYTES)
            if first < past:
                old = self._pages[index]
                self._pages[index] = old[:first] + bytes(past - first) + old[past:]

    def resize(self, size_bytes: int) -> None:
        """Cut it, or let it grow by zeros."""
        if size_bytes < self.size_bytes:
            self.zero(size_bytes, self.size_bytes - size_bytes)
        self.size_bytes = size_bytes

    def save(self, path: Path) -> None:
        """Write them into a file; what is zero stays a hole."""
        with path.open("wb") as file:
            for index, page in self._pages.items():
                if page != _ZEROS and index * _PAGE_BYTES < self.size_bytes:
                    file.seek(index * _PAGE_BYTES)
                    file.write(page)
            file.truncate(self.size_bytes)
