"""Opening a system whose pair is large, beside one whose pair is small: size may not matter."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from figures import Beside, Sizes
from pyrep import StorageSystem

_LARGE = 15 << 40
_SMALL = 1 << 20


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError("VmRSS")


def _make(directory: Path, size: int) -> None:
    """A sparse volume with a split pair and some pending chunks."""
    with StorageSystem.create(directory, "100a") as system:
        volume = system.create_volume("105", size)
        system.create_volume("106", size)
        pair = system.create_local_pair("105", "106")
        pair.wait()
        pair.split()
        for step in range(64):
            volume.pwrite(b"pending", size // 64 * step)


def _open(directory: Path) -> tuple[int, int]:
    """Return the time to open, and what stays resident while it is open."""
    before = _resident_bytes()
    start = time.perf_counter_ns()
    with StorageSystem.open(directory):
        took = time.perf_counter_ns() - start
        return took, _resident_bytes() - before


def bench_open(tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes) -> None:
    """The bars: 15 TiB open in less than 100 ms, and add less than 8 MiB."""
    size = sizes.volume_bytes if sizes.is_smoke else _LARGE
    large, small = tmp_path / "large", tmp_path / "small"
    _make(large, size)
    _make(small, _SMALL)
    opened: list[tuple[int, int]] = []

    def measure() -> float:
        opened.append(_open(large))
        return opened[-1][0]

    def once() -> None:
        beside.interleave(1, measure, lambda: _open(small)[0])

    benchmark.pedantic(once, rounds=sizes.rounds)
    beside.report(
        volume_bytes=size,
        open_ms_max=max(took for took, _ in opened) / 1e6,
        resident_added_bytes_max=max(added for _, added in opened),
    )
