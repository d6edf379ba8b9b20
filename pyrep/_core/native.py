"""The door to the compiled core: the only importer of cffi's module, and what all wrappers share.

Every call into C releases the GIL. A negative errno becomes an exception here, once. Waits are cut
into slices of `SLICE_S`, so that Ctrl-C, a cancel and a close get through.

Objects own their C counterpart and free it in `close()` (idempotent) or when collected; each keeps
what its counterpart points to alive.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable
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
    errno.ETIMEDOUT: lambda what: TimedOutError(f"{what}: timed out"),
    errno.ERANGE: lambda what: OutOfRangeError(f"{what}: the range reaches past the end"),
    errno.EPIPE: lambda what: PathLostError(f"{what}: the path or the target is gone"),
    errno.EROFS: lambda what: ReadOnlyError(f"{what}: read-only"),
    errno.EACCES: lambda what: ReadOnlyError(
        f"{what}: permission denied",
        hint="give this user write permission for the file and its directory",
    ),
    errno.ENOSPC: lambda what: NoSpaceError(f"{what}: no space left", hint="free some space"),
    errno.EWOULDBLOCK: lambda what: InUseError(
        f"{what}: locked by another volume or process",
        hint="one backing file belongs to one volume; close the other one first",
    ),
    errno.ENOENT: lambda what: NotFoundError(f"{what}: there is no such file"),
}


def error_of(code: int, what: str) -> PyrepError:
    factory = _FACTORIES.get(-code)
    if factory:
        return factory(what)
    return DeviceError(f"{what}: {os.strerror(-code)}", errno_code=-code)


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


class Owned:
    """A C object, freed once."""

    def __init__(self, pointer: Pointer, free: Callable[[Pointer], None]) -> None:
        self._pointer = pointer
        self._free = free
        self._freeing = threading.Lock()

    @property
    def pointer(self) -> Pointer:
        """The C pointer; using a closed object is a mistake of the caller's."""
        if self._pointer is None:
            raise InvalidArgumentError(f"{type(self).__name__} is closed")
        return self._pointer

    @property
    def closed(self) -> bool:
        """Whether it was freed."""
        return self._pointer is None

    def close(self) -> None:
        """Free the C object. Harmless when done before."""
        with self._freeing:
            pointer, self._pointer = self._pointer, None
        if pointer is not None:
            self._free(pointer)

    def __del__(self) -> None:
        # At the interpreter's end objects go in any order, and one may be freed before its user.
        if getattr(self, "_pointer", None) is not None and not sys.is_finalizing():
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
