"""Numbered records, written to two volumes in turn while backups are taken (INV-6).

Record n goes to the first place; when that write is acknowledged, to the second; when that is
acknowledged, record n + 1 follows. So the writes have one order across both volumes, and whatever
was split at one point holds a prefix of it: n records in the second place, and n or n + 1 in the
first. The places are rings of slots whose whole content follows from that number: a record that is
missing, torn, too new or out of turn shows as a difference.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from pyrep._core import Buffer

__all__ = ["SLOT_BYTES", "Place", "RecordWriter", "Writable", "count_records", "expected_ring"]

SLOT_BYTES = 4096
_EMPTY = 1 << 63
"""Number of an empty slot, its index added: no two slots are alike before the first record."""


class Writable(Protocol):
    """A volume, as far as records are concerned."""

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write; it returns when the write is acknowledged."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where records are written.

    Attributes:
        volume: at the primary.
        offset: of the first slot, bytes.
    """

    volume: Writable
    offset: int


def _slot_content(number: int) -> bytes:
    return number.to_bytes(8, "big") * (SLOT_BYTES // 8)


def expected_ring(count: int, slots: int) -> bytes:
    """Return what a ring holds after `count` records."""
    numbers = [_EMPTY + slot for slot in range(slots)]
    for number in range(max(1, count - slots + 1), count + 1):
        numbers[(number - 1) % slots] = number
    return b"".join(map(_slot_content, numbers))


def count_records(ring: bytes) -> tuple[int, int | None]:
    """Return how many records a ring holds, and the first slot that isn't as it should be then."""
    slots = len(ring) // SLOT_BYTES
    numbers = (
        int.from_bytes(ring[at : at + 8], "big") for at in range(0, slots * SLOT_BYTES, SLOT_BYTES)
    )
    count = max((number for number in numbers if number < _EMPTY), default=0)
    expected = expected_ring(count, slots)
    if ring == expected:
        return count, None
    starts = range(0, len(expected), SLOT_BYTES)
    wrong = next(
        at for at in starts if ring[at : at + SLOT_BYTES] != expected[at : at + SLOT_BYTES]
    )
    return count, wrong // SLOT_BYTES


class RecordWriter:
    """The thread that writes records. Use as a context manager; leaving it stops the thread.

    Args:
        places: in the order in which each record is written to them.
        slots: of each ring.
        first: number of the first record.
    """

    def __init__(self, places: Sequence[Place], *, slots: int, first: int) -> None:
        self._places = places
        self._slots = slots
        self._count = first - 1
        self._changed = threading.Condition()
        self._stop = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="record writer", daemon=True)

    @property
    def count(self) -> int:
        """Number of the last record that is acknowledged in all places."""
        return self._count

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop = True
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def wait_for(self, more: int) -> int:
        """Wait until `more` records are acknowledged; return the count then.

        Raises:
            PyrepError: what ended the thread.
        """
        wanted = self._count + more
        with self._changed:
            self._changed.wait_for(lambda: self._count >= wanted or self._error is not None)
        if self._error is not None:
            raise self._error
        return self._count

    def _write(self) -> None:
        try:
            while not self._stop:
                number = self._count + 1
                content = _slot_content(number)
                at = (number - 1) % self._slots * SLOT_BYTES
                for place in self._places:
                    place.volume.pwrite(content, place.offset + at)
                with self._changed:
                    self._count = number
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 (raised in the thread that waits)
            with self._changed:
                self._error = error
                self._changed.notify_all()
