"""The path between systems: frames of ordered streams, and typed commands."""

from pyrep.interconnect.frames import check_digest, seal
from pyrep.interconnect.loop import LoopPath

__all__ = ["LoopPath", "check_digest", "seal"]
