"""Where the figures come from: commit, processor, kernel, and the storage below the volumes."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

__all__ = ["describe", "mount_of"]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1) if found else platform.processor()


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def mount_of(path: Path) -> dict[str, str]:
    """Return the type and the device of the file system that `path` lies in."""
    status = path.stat()
    wanted = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    for line in _read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            kind, device, options = after.split(" ", 2)
            return {"file_system": kind, "device": device, "options": options}
    return {"file_system": "unknown", "device": wanted, "options": ""}


def describe(directory: Path) -> dict[str, object]:
    """Return what a reader must know of a figure measured on volumes below `directory`."""
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return {
        "commit": _git("rev-parse", "HEAD"),
        "is_changed": bool(_git("status", "--porcelain")),
        "processor": _processor(),
        "processor_count": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory.group(1)) * 1024 if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
        **mount_of(directory),
    }
