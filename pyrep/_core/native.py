"""The door to the compiled core: the only importer of cffi's module, and what all wrappers share.

Every call into C releases the GIL. A negative errno becomes an exception here, once. Waits are cut
into slices of `SLICE_S`, so that Ctrl-C, a cancel and a close get through.

Objects own their C counterpart and give it up in `close()` (idempotent) or when collected; it is
freed when no call is inside any more and no other C object points to it (`_Handle`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from pyrep._core_native import ffi, lib
from pyrep.errors import (
    CancelledError,
    DeviceError,
    InUseError,
    InvalidArgumentError,
    NoSpaceError,
    NotFoundError,
    OutOfRangeError,
    PathLostError,
    PyrepError,
    ReadOnlyError,
    TimedOutError,
)

__all__ = [
    "NO_DEADLINE",
    "SLICE_NS",
    "SLICE_S",
    "Buffer",
    "Owned",
    "Pointer",
    "check",
    "deadline_of",
    "error_of",
    "ffi",
    "held",
    "in_slices",
    "lib",
]

SLICE_S = 0.2
SLICE_NS = int(SLICE_S * 1e9)
NO_DEADLINE = 2**64 - 1

Pointer = Any
"""A cffi pointer, array or handle: cffi has no types for them."""

Buffer = bytes | bytearray | memoryview


_FACTORIES: dict[int, Callable[[str], PyrepError]] = {
    errno.ECANCELED: lambda what: CancelledError(f"{what}: cancelled"),
    errno.ETIMEDOUT: lambda what: TimedOutError(
        f"{what}: timed out", hint="try again; system.paths() says whether a path is down"
    ),
    errno.ERANGE: lambda what: OutOfRangeError(f"{what}: the range reaches past the end"),
    errno.EPIPE: lambda what: PathLostError(
        f"{what}: the path or the target is gone",
        hint="restore the path; system.paths() says why it is down",
    ),
    errno.EROFS: lambda what: ReadOnlyError(
        f"{what}: read-only",
        hint="let its storage be written again: is it mounted, or set, read-only?",
    ),
    errno.EACCES: lambda what: ReadOnlyError(
        f"{what}: permission denied",
        hint="give this user write permission for the file and its directory",
    ),
    errno.ENOSPC: lambda what: NoSpaceError(f"{what}: no space left", hint="free some space"),
    errno.EWOULDBLOCK: lambda what: InUseError(
        f"{what}: locked by another volume or process",
        hint="one backing file belongs to one volume; close the other one first",
    ),
    errno.ENOENT: lambda what: NotFoundError(
        f"{what}: there is no such file", hint="put it back, or name another one"
    ),
}


def error_of(code: int, what: str) -> PyrepError:
    factory = _FACTORIES.get(-code)
    if factory:
        return factory(what)
    return DeviceError(
        f"{what}: {os.strerror(-code)}",
        errno_code=-code,
        hint="is it the disk? the kernel's log (dmesg) tells; then try again",
    )


def check(code: int, what: str) -> int:
    if code < 0:
        raise error_of(code, what)
    return code


def deadline_of(timeout_s: float | None) -> int:
    return NO_DEADLINE if timeout_s is None else time.monotonic_ns() + int(timeout_s * 1e9)


def in_slices(call: Callable[[int], int], timeout_s: float | None) -> int:
    """Call until it answers something else than a slice's time-out, or the time is up."""
    end = deadline_of(timeout_s)
    while True:
        slice_end = min(end, time.monotonic_ns() + SLICE_NS)
        code = call(slice_end)
        if code != -errno.ETIMEDOUT or slice_end >= end:
            return code


class _Handle:
    """Counts who needs a C object; the last one frees it, and then lets go of what that pointed to.

    Its owner is one, a call that is inside is one, each C object that points to it is one. So a
    parent outlives its children in whatever order they are closed, or collected: a cycle's objects
    are finalized in any order.
    """

    __slots__ = ("_free", "_needs", "_pointer", "_users")

    def __init__(
        self, pointer: Pointer, free: Callable[[Pointer], None], needs: Iterable[_Handle]
    ) -> None:
        self._pointer = pointer
        self._free = free
        self._needs: dict[object, _Handle] = {one: one.take() for one in needs}
        self._users = 1

    def take(self) -> _Handle:
        """Count one more in. InvalidArgumentError: it is freed already."""
        with _counting:
            if not self._users:
                raise InvalidArgumentError("what this needs is closed")
            self._users += 1
            return self

    def drop(self, _pointer: Pointer = None) -> None:
        """Count one out. At the interpreter's end the process frees everything, at once."""
        if sys.is_finalizing():
            return
        with _counting:
            self._users -= 1
            if self._users:
                return
        self._free(self._pointer)
        for one in self._needs.values():
            one.drop()

    def keep(self, role: object, need: _Handle | None) -> None:
        """Keep this alive too from now on, in place of what had the role before."""
        taken = need.take() if need else None
        old = self._needs.pop(role, None)
        if taken:
            self._needs[role] = taken
        if old:
            old.drop()


# A collection may finalize an object in the midst of a count of the same thread: an RLock.
_counting = threading.RLock()


class Owned:
    """A C object, freed once nobody needs it: closed, no call inside, no other object on it.

    Args:
        pointer: the C object.
        free: frees it.
        needs: what its C object points to as long as it lives.
    """

    def __init__(
        self,
        pointer: Pointer,
        free: Callable[[Pointer], None],
        *,
        needs: Iterable[Owned] = (),
    ) -> None:
        self.handle: _Handle = _Handle(pointer, free, [one.handle for one in needs])
        # Whoever passes this to a call holds a reference to it until the call returns.
        self._pointer = ffi.gc(pointer, self.handle.drop)

    @property
    def pointer(self) -> Pointer:
        """The C pointer; using a closed object is a mistake of the caller's.

        Pass the very object on to the call: a copy (in an array, a struct) keeps nothing alive, a
        local variable too much, when an exception keeps the frame (`held`).
        """
        pointer = self._pointer
        if pointer is None:
            raise InvalidArgumentError(f"{type(self).__name__} is closed")
        return pointer

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._pointer is None

    def close(self) -> None:
        """Give it up: it is freed now, or when the last one who needs it has gone. Idempotent."""
        self._pointer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@contextlib.contextmanager
def held(*things: Owned) -> Iterator[None]:
    """Free none of these inside the block, for calls that take copies of their pointers."""
    handles = [one.handle.take() for one in things]
    try:
        yield
    finally:
        for one in handles:
            one.drop()
