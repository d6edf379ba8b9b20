"""Storage that Python serves, for what takes a `rep_io`: a file system on a volume elsewhere."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Any, Protocol

from pyrep._core.io import Io
from pyrep._core.native import Buffer, Pointer, ffi, lib
from pyrep.errors import DeviceError

__all__ = ["CalledIo", "Storage"]


class Storage(Protocol):
    """What is behind a `CalledIo`. Offsets and lengths are bytes, inside the size.

    What a method raises becomes an errno: a `DeviceError`'s own, else EIO.
    """

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` from `offset` on."""
        ...

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write `data` at `offset`; it is valid during the call only."""
        ...

    def zero(self, length: int, offset: int) -> None:
        """Make the range read as zeros."""
        ...

    def flush(self) -> None:
        """Make everything written before durable."""
        ...


class _Served:
    """A storage, and the first error of it that C got as an errno."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.error: BaseException | None = None
        self._lock = threading.Lock()

    def call(self, action: Callable[[], None]) -> int:
        """Do it; return 0, or the negative errno of what it raised."""
        try:
            action()
        except BaseException as error:  # noqa: BLE001 (kept; C can't carry it)
            with self._lock:
                self.error = self.error or error
            return -error.errno_code if isinstance(error, DeviceError) else -errno.EIO
        return 0


_served: dict[int, _Served] = {}
"""Those that aren't freed, by the address of their C object."""


class CalledIo(Io):
    """A `rep_io` whose calls come back to Python, to a `Storage`.

    C sees only an errno; the error itself is kept in `error`, to be raised by whoever used it.
    """

    def __init__(self, storage: Storage, size_bytes: int, name: str) -> None:
        self._served = _Served(storage)
        made = ffi.new("rep_io *")
        made.ops = _ops
        made.size_bytes = size_bytes
        _served[_address(made)] = self._served
        super().__init__(made, name)

    @property
    def error(self) -> BaseException | None:
        """The first error that the storage raised, or None."""
        return self._served.error


def _address(io: Pointer) -> int:
    return int(ffi.cast("uintptr_t", io))


def _called(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    decorate: Callable[[Callable[..., Any]], Callable[..., Any]] = ffi.def_extern(
        name=name, error=None if name == "pyrep_io_free" else -errno.EIO
    )
    return decorate


@_called("pyrep_io_pread")
def _pread(io: Pointer, buffer: Pointer, length: int, offset: int) -> int:
    found = _served[_address(io)]
    view = memoryview(ffi.buffer(buffer, length))
    return found.call(lambda: found.storage.pread_into(view, offset))


@_called("pyrep_io_pwrite")
def _pwrite(io: Pointer, data: Pointer, length: int, offset: int) -> int:
    found = _served[_address(io)]
    view = memoryview(ffi.buffer(data, length))
    return found.call(lambda: found.storage.pwrite(view, offset))


@_called("pyrep_io_flush")
def _flush(io: Pointer) -> int:
    found = _served[_address(io)]
    return found.call(found.storage.flush)


@_called("pyrep_io_zero")
def _zero(io: Pointer, offset: int, length: int) -> int:
    found = _served[_address(io)]
    return found.call(lambda: found.storage.zero(length, offset))


@_called("pyrep_io_free")
def _free(io: Pointer) -> None:
    _served.pop(_address(io), None)  # the memory is cffi's, and goes with its last reference


_name = ffi.new("char[]", b"called")
_ops = ffi.new("rep_io_ops *")
_ops.name = _name
_ops.pread = lib.pyrep_io_pread
_ops.pwrite = lib.pyrep_io_pwrite
_ops.flush = lib.pyrep_io_flush
_ops.zero = lib.pyrep_io_zero
_ops.free = lib.pyrep_io_free
