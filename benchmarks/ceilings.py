"""The C ceilings, built by CMake once per run, called without the GIL."""

from __future__ import annotations

import ctypes
import fcntl
import os
import subprocess
from array import array
from pathlib import Path
from typing import Any

import cffi

__all__ = ["Ceilings", "Hosts", "words"]

_ROOT = Path(__file__).parents[1]
_BUILD = _ROOT / "build" / "c-bench"


def _build() -> Path:
    """Build `ceilings*.c`; one process at a time, since all share the directory."""
    _BUILD.mkdir(parents=True, exist_ok=True)
    with (_BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configure = ["cmake", "-S", str(_ROOT), "-B", str(_BUILD), "-DREP_TESTS=OFF"]
        for command in (configure, ["cmake", "--build", str(_BUILD), "--target", "ceilings"]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"the ceilings don't build:\n{done.stdout}{done.stderr}")
    return _BUILD / "ceilings.so"


def words(values: list[int]) -> array[int]:
    """Return unsigned 64-bit numbers as C sees them."""
    return array("Q", values)


def _pointer(values: array[int]) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.buffer_info()[0])


class Ceilings:
    """Times in nanoseconds."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(_build()))
        for name in (
            *("copy_runs", "or", "andnot", "popcount", "runs", "pwrites"),
            *("send_runs", "receive_runs", "ask", "answer"),
        ):
            getattr(self._library, f"ceiling_{name}").restype = ctypes.c_int64

    @staticmethod
    def _checked(answer: int) -> int:
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return answer

    def copy_runs(
        self,
        source: int,
        target: int,
        offsets: array[int],
        lengths: array[int],
        *,
        threads: int = 1,
        by_range: bool = False,
    ) -> tuple[int, int]:
        """Copy runs, then fdatasync; return the time to the last write, and all.

        `by_range`: with copy_file_range instead of pread and pwrite.
        """
        written = ctypes.c_int64()
        answer = self._library.ceiling_copy_runs(
            source,
            target,
            _pointer(offsets),
            _pointer(lengths),
            ctypes.c_uint64(len(offsets)),
            ctypes.c_int(threads),
            ctypes.c_int(by_range),
            ctypes.byref(written),
        )
        return written.value, self._checked(answer)

    def join(self, operation: str, target: array[int], source: array[int]) -> int:
        """Do `or` or `andnot` over words."""
        function = getattr(self._library, f"ceiling_{operation}")
        count = ctypes.c_uint64(len(target))
        return self._checked(function(_pointer(target), _pointer(source), count))

    def popcount(self, source: array[int]) -> tuple[int, int]:
        """Return the time to count the set bits, and their count."""
        found = ctypes.c_uint64()
        count = ctypes.c_uint64(len(source))
        answer = self._library.ceiling_popcount(_pointer(source), count, ctypes.byref(found))
        return self._checked(answer), found.value

    def runs(self, source: array[int], capacity: int) -> tuple[int, int]:
        """Return the time to find all runs by counting trailing zeros, and their count."""
        found = ctypes.c_uint64()
        firsts, counts = array("Q", bytes(8 * capacity)), array("Q", bytes(8 * capacity))
        answer = self._library.ceiling_runs(
            _pointer(source),
            ctypes.c_uint64(len(source)),
            _pointer(firsts),
            _pointer(counts),
            ctypes.c_uint64(capacity),
            ctypes.byref(found),
        )
        return self._checked(answer), found.value

    def pwrites(self, target: int, data: bytes, offsets: array[int]) -> int:
        """Write `data` at each offset."""
        return self._checked(
            self._library.ceiling_pwrites(
                target,
                ctypes.c_char_p(data),
                ctypes.c_uint64(len(data)),
                _pointer(offsets),
                ctypes.c_uint64(len(offsets)),
            )
        )

    def send_runs(
        self, sock: int, source: int, offsets: array[int], lengths: array[int]
    ) -> tuple[int, int]:
        """Send runs to `receive_runs`; return the time until all are written there, and durable."""
        written = ctypes.c_int64()
        answer = self._library.ceiling_send_runs(
            sock,
            source,
            _pointer(offsets),
            _pointer(lengths),
            ctypes.c_uint64(len(offsets)),
            ctypes.byref(written),
        )
        return written.value, self._checked(answer)

    def receive_runs(self, sock: int, target: int) -> None:
        """Be the other end of `send_runs`."""
        self._checked(self._library.ceiling_receive_runs(sock, target))

    def ask(
        self, sock: int, source: int, data: bytes, offsets: array[int], outstanding: int
    ) -> tuple[int, array[int]]:
        """Write at each offset here and at `answer`; return the time in all, and of each write."""
        took = words([0] * len(offsets))
        answer = self._library.ceiling_ask(
            sock,
            source,
            ctypes.c_char_p(data),
            ctypes.c_uint64(len(data)),
            _pointer(offsets),
            ctypes.c_uint64(len(offsets)),
            ctypes.c_uint64(outstanding),
            _pointer(took),
        )
        return self._checked(answer), took

    def answer(self, sock: int, target: int, length: int, count: int, *, is_durable: bool) -> None:
        """Be the other end of `ask`."""
        self._checked(
            self._library.ceiling_answer(
                sock, target, ctypes.c_uint64(length), ctypes.c_uint64(count), int(is_durable)
            )
        )


def _load_hosts() -> tuple[Any, Any]:
    ffi = cffi.FFI()
    ffi.cdef(
        """
        typedef struct hosts hosts;
        hosts *ceiling_hosts_new(int sock, int source);
        void ceiling_hosts_free(hosts *h);
        int ceiling_hosts_write(hosts *h, const void *data, uint64_t length, uint64_t offset);
        int ceiling_hosts_hear(hosts *h, uint64_t count);
        """
    )
    return ffi, ffi.dlopen(str(_build()))


class Hosts:
    """The echo's near end, for threads of Python to call as they call pyrep: through cffi."""

    def __init__(self, sock: int, source: int) -> None:
        ffi, self._library = _load_hosts()
        made = self._library.ceiling_hosts_new(sock, source)
        self._hosts = ffi.gc(made, self._library.ceiling_hosts_free)

    def pwrite(self, data: bytes, offset: int) -> None:
        """Write here and there; return when it is answered."""
        if self._library.ceiling_hosts_write(self._hosts, data, len(data), offset):
            raise OSError("the echo has failed")

    def hear(self, count: int) -> None:
        """Take the answers to so many writes."""
        if self._library.ceiling_hosts_hear(self._hosts, count):
            raise OSError("the echo has failed")
