"""A process whose calls of the kernel fail, write less or end it, on the files that are meant."""

from __future__ import annotations

import ctypes
import enum
import mmap
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Call", "Faults", "build_faults"]

_SOURCE = Path(__file__).with_name("faults.c")
_FOR_EVER = (1 << 64) - 1


class Call(enum.IntFlag):
    """Kinds of calls."""

    WRITE = 1
    SYNC = 2
    SIZE = 4
    READ = 8


class _Act(enum.IntEnum):
    FAIL = 0
    LESS = 1
    KILL = 2


class _Rule(ctypes.Structure):
    """As in faults.c."""

    _fields_ = (
        ("calls", ctypes.c_uint32),
        ("act", ctypes.c_uint32),
        ("error", ctypes.c_int32),
        ("bytes", ctypes.c_uint32),
        ("first", ctypes.c_uint64),
        ("end", ctypes.c_uint64),
        ("hits", ctypes.c_uint64),
        ("patterns", ctypes.c_char * 1024),
    )


def build_faults(directory: Path) -> Path:
    """Compile what is preloaded; return the library."""
    out = directory / "faults.so"
    compiler = shutil.which("cc")
    assert compiler, "the set-up brings a C compiler"
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", str(out), str(_SOURCE), "-ldl"], check=True)
    return out


class Faults:
    """The rule of one process: `environment` is what it is started with.

    Args:
        library: from `build_faults`.
        path: where the rule's page is.
    """

    def __init__(self, library: Path, path: Path) -> None:
        path.write_bytes(bytes(max(ctypes.sizeof(_Rule), mmap.PAGESIZE)))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._rule = _Rule.from_buffer(self._memory)
        self.environment = {"LD_PRELOAD": str(library), "PYREP_FAULTS": str(path)}

    @property
    def hits(self) -> int:
        """How many calls have matched since the rule was set."""
        return int(self._rule.hits)

    def _set(self, patterns: tuple[str, ...], calls: Call, act: _Act, **more: int) -> None:
        self.clear()
        rule = self._rule
        rule.patterns = "\n".join(patterns).encode()
        rule.act, rule.error, rule.bytes = act, more.get("error", 0), more.get("length", 0)
        rule.first, rule.end = more.get("first", 0), more.get("end", _FOR_EVER)
        rule.hits = 0
        rule.calls = calls  # the last: from now on it holds

    def clear(self) -> None:
        """Let everything through."""
        self._rule.calls = 0

    def count(self, *patterns: str, calls: Call) -> None:
        """Only count."""
        self._set(patterns, calls, _Act.FAIL, first=_FOR_EVER)

    @contextmanager
    def fail(
        self, *patterns: str, error: int, calls: Call = Call.WRITE | Call.SYNC | Call.SIZE
    ) -> Iterator[None]:
        """Let calls on these files fail meanwhile."""
        self._set(patterns, calls, _Act.FAIL, error=error)
        try:
            yield
        finally:
            self.clear()

    def fail_at(
        self, number: int, *patterns: str, error: int, calls: Call, once: bool = False
    ) -> None:
        """Let a call of any thread fail, the first is 0, and unless `once` all behind it."""
        end = number + 1 if once else _FOR_EVER
        self._set(patterns, calls, _Act.FAIL, error=error, first=number, end=end)

    @contextmanager
    def write_less(self, *patterns: str, length: int) -> Iterator[None]:
        """Let no write to these files take more than so many bytes at once."""
        self._set(patterns, Call.WRITE, _Act.LESS, length=length)
        try:
            yield
        finally:
            self.clear()

    def kill_at(self, number: int, *patterns: str, calls: Call = Call.SYNC) -> None:
        """End the process, as kill -9 does, right before a call: the first is 0."""
        self._set(patterns, calls, _Act.KILL, first=number)
