"""The C ceilings, compiled once per run, called without the GIL."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from array import array
from pathlib import Path

__all__ = ["Ceilings", "words"]

_SOURCE = Path(__file__).with_name("ceilings.c")


def words(values: list[int]) -> array[int]:
    """Return unsigned 64-bit numbers as C sees them."""
    return array("Q", values)


def _pointer(values: array[int]) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.buffer_info()[0])


class Ceilings:
    """Times in nanoseconds."""

    def __init__(self, directory: Path) -> None:
        library = directory / "ceilings.so"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        flags = ["-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)]
        subprocess.run([*compiler, *flags], check=True)
        self._library = ctypes.CDLL(str(library))
        for name in ("copy_runs", "or", "andnot", "pwrites"):
            getattr(self._library, f"ceiling_{name}").restype = ctypes.c_int64

    @staticmethod
    def _checked(answer: int) -> int:
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return answer

    def copy_runs(
        self, source: int, target: int, offsets: array[int], lengths: array[int]
    ) -> tuple[int, int]:
        """Copy runs, then fdatasync; return the time to the last write, and all."""
        written = ctypes.c_int64()
        answer = self._library.ceiling_copy_runs(
            source,
            target,
            _pointer(offsets),
            _pointer(lengths),
            ctypes.c_uint64(len(offsets)),
            ctypes.byref(written),
        )
        return written.value, self._checked(answer)

    def join(self, operation: str, target: array[int], source: array[int]) -> int:
        """Do `or` or `andnot` over words."""
        function = getattr(self._library, f"ceiling_{operation}")
        count = ctypes.c_uint64(len(target))
        return self._checked(function(_pointer(target), _pointer(source), count))

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
