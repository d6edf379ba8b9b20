"""A system whose volumes are large enough for activity logs that matter, and where these are."""

from __future__ import annotations

from pathlib import Path

from pyrep.engine import StorageSystem

__all__ = ["SIZE", "log_file", "make_system"]

SIZE = 64 << 20


def make_system(root: Path) -> StorageSystem:
    """Make 100b with 105b, 106b and 107b."""
    system = StorageSystem.create(root / "s", "100b")
    for name in ("105b", "106b", "107b"):
        system.create_volume(name, SIZE)
    return system


def log_file(system: StorageSystem, volume_id: str = "105b") -> Path:
    """Return where the log of an open volume is."""
    live = system.state.live[system.volume(volume_id).volume_id]
    return system.state.logs.path_of(live.record.key)
