"""Comparers: they notice what hosts write while both ends of a link are read and digested."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable, Iterator

from pyrep._core.io import Io
from pyrep._core.link import LinkCore
from pyrep._core.native import Owned, Pointer, check, ffi, in_slices, lib
from pyrep._core.wake import Wake
from pyrep.errors import InvalidArgumentError, WireError

__all__ = ["Comparer", "Runs", "read_runs"]

_NUMBER_BYTES = 8

_Rest = tuple[int, Pointer, int]
"""A deadline, where to put how many runs were gone through, and how many were before."""


class Runs:
    """Runs of chunks, ascending: their firsts and their counts, unsigned 64-bit numbers.

    Attributes:
        firsts, counts: in parallel.
    """

    __slots__ = ("counts", "firsts")

    def __init__(self, firsts: array[int], counts: array[int]) -> None:
        self.firsts = firsts
        self.counts = counts

    @classmethod
    def of(cls, runs: list[tuple[int, int]]) -> Runs:
        """Return these runs."""
        return cls(array("Q", (one for one, _ in runs)), array("Q", (count for _, count in runs)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Runs:
        """Return the runs that `to_bytes` gave. WireError: it didn't."""
        if len(data) % (2 * _NUMBER_BYTES):
            raise WireError(f"cannot take runs of {len(data)} bytes")
        half = len(data) // 2
        firsts, counts = array("Q"), array("Q")
        firsts.frombytes(data[:half])
        counts.frombytes(data[half:])
        return cls(firsts, counts)

    def to_bytes(self) -> bytes:
        """Return all firsts, then all counts, 8 bytes each, little endian."""
        return self.firsts.tobytes() + self.counts.tobytes()

    def __len__(self) -> int:
        return len(self.firsts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.firsts, self.counts, strict=True)

    def from_run(self, at: int) -> Runs:
        """Return those from the `at`-th on."""
        return Runs(self.firsts[at:], self.counts[at:])

    def chunks(self) -> int:
        """Return how many chunks they have."""
        return sum(self.counts)


def _numbers(values: array[int]) -> Pointer:
    return ffi.from_buffer("uint64_t[]", values)


def read_runs(
    io: Io, runs: Runs, *, chunk_bytes: int, group_bytes: int, buffer: bytearray
) -> list[int]:
    """Read runs of chunks one behind the other into `buffer`, in one call.

    Returns:
        The bytes of each group of `group_bytes` that something was read of, ascending.

    Raises:
        InvalidArgumentError, OutOfRangeError: runs that can't be, or don't fit.
        DeviceError: the storage failed.
    """
    most = len(buffer) // chunk_bytes + 2 * len(runs) + 1
    lengths = ffi.new("uint64_t[]", most)
    target = ffi.from_buffer(buffer, require_writable=True)
    code = lib.rep_compare_read(
        io.pointer,
        chunk_bytes,
        group_bytes,
        _numbers(runs.firsts),
        _numbers(runs.counts),
        len(runs),
        target,
        len(buffer),
        lengths,
        most,
    )
    what = f"reading {io.name}"
    if code == -errno.EINVAL:
        raise InvalidArgumentError(f"{what}: no runs of chunks that fit {len(buffer)} bytes")
    groups = check(code, what)
    return list(lengths[0:groups])


class Comparer(Owned):
    """Notices every write that a link is asked to pass on, from its begin on.

    Every call raises PathLostError once the link has broken or was given other work.

    Raises:
        PathLostError: the link doesn't forward or ship.
    """

    def __init__(self, link: LinkCore) -> None:
        out = ffi.new("rep_compare **")
        what = f"comparing volume {link.volume.name}"
        check(lib.rep_compare_new(link.pointer, out), what)
        super().__init__(out[0], lib.rep_compare_free, needs=[link])
        self._what = what

    def pending(
        self, start: int, *, group_bytes: int, most_bytes: int, capacity: int
    ) -> tuple[Runs, int]:
        """Return pending runs from chunk `start` on, and where to go on (past the last: done).

        They are cut where groups end. Holes of the volume aren't among them.
        """
        firsts, counts = array("Q", bytes(8 * capacity)), array("Q", bytes(8 * capacity))
        resume = ffi.new("uint64_t *")
        code = lib.rep_compare_pending(
            self.pointer,
            start,
            group_bytes,
            most_bytes,
            ffi.from_buffer("uint64_t[]", firsts, require_writable=True),
            ffi.from_buffer("uint64_t[]", counts, require_writable=True),
            capacity,
            resume,
        )
        found = check(code, self._what)
        return Runs(firsts[:found], counts[:found]), int(resume[0])

    def begin(self, first: int, count: int, wake: Wake) -> None:
        """Forget what was noticed in these chunks: writes that began before have ended."""

        def call(deadline: int) -> int:
            return int(lib.rep_compare_begin(self.pointer, first, count, deadline, wake.pointer))

        check(in_slices(call, None), self._what)

    def settle(self, runs: Runs, wake: Wake) -> int:
        """Clear the pending bits of these runs, equal and durable at both ends as read since.

        What hosts wrote since the begin stays pending.

        Returns:
            The bytes of what was cleared.
        """
        cleared = ffi.new("uint64_t *")

        def settle(firsts: Pointer, counts: Pointer, left: int, rest: _Rest) -> int:
            deadline, done, _ = rest
            return int(
                lib.rep_compare_settle(
                    self.pointer, firsts, counts, left, deadline, wake.pointer, done, cleared
                )
            )

        self._go_through(runs, settle)
        return int(cleared[0])

    def written(self, runs: Runs, wake: Wake) -> bytes:
        """Return one byte per run: 1 if a host wrote there since its begin, or it is pending."""
        out = bytearray(len(runs))
        answers = ffi.from_buffer("uint8_t[]", out, require_writable=True)

        def ask(firsts: Pointer, counts: Pointer, left: int, rest: _Rest) -> int:
            deadline, done, at = rest
            return int(
                lib.rep_compare_written(
                    self.pointer, firsts, counts, left, deadline, wake.pointer, done, answers + at
                )
            )

        self._go_through(runs, ask)
        return bytes(out)

    def _go_through(self, runs: Runs, step: Callable[[Pointer, Pointer, int, _Rest], int]) -> None:
        firsts, counts = _numbers(runs.firsts), _numbers(runs.counts)
        done = ffi.new("int *")
        at = 0

        def call(deadline: int) -> int:
            nonlocal at
            rest = (deadline, done, at)
            code = step(firsts + at, counts + at, len(runs) - at, rest)
            at += done[0]
            return code

        check(in_slices(call, None), self._what)
