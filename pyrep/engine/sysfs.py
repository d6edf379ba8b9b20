"""What the kernel tells of block devices in /sys: names that stay, and counters of writes."""

from __future__ import annotations

from pathlib import Path

__all__ = ["disk_run", "serial_of", "written_sectors"]

_DEVICES = Path("/sys/dev/block")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_NAMES = ("dm/uuid", "md/uuid", "wwid", "device/wwid", "serial", "device/serial")
"""Files that name a disk wherever it appears, the surest first; a loop device has its own way."""

_SECTORS_WRITTEN, _SECTORS_DISCARDED = 6, 13
"""Fields of `stat`, from 0 (the kernel's Documentation/block/stat.rst); old kernels end before."""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def serial_of(number: str, *, devices: Path = _DEVICES) -> str:
    """Return what names the block device `major:minor` wherever it appears; empty: nothing does.

    A partition has its disk's name with its own start: numbers of partitions may be given anew.
    """
    device = (devices / number).resolve()
    start = _read(device / "start") if (device / "partition").exists() else ""
    disk = device.parent if start else device
    loop = _read(disk / "loop/backing_file")
    found = f"{loop}+{_read(disk / 'loop/offset')}" if loop else ""
    for name in _NAMES:
        found = found or _read(disk / name)
    return f"{found}@{start}" if found and start else found


def disk_run(sequence: int, *, boot_id: Path = _BOOT_ID) -> str:
    """Return what names a run of the kernel and a disk in it: counters start anew with either."""
    return f"{_read(boot_id)}/{sequence}"


def written_sectors(number: str, *, devices: Path = _DEVICES) -> int:
    """Return the sectors written to a block device and discarded since it appeared."""
    fields = _read(devices / number / "stat").split()
    return sum(int(fields[at]) for at in (_SECTORS_WRITTEN, _SECTORS_DISCARDED) if at < len(fields))
