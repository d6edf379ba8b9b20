"""Mirrored block volumes with point-in-time backup and restore, in user space."""

from pyrep.version import __version__

__all__ = ["__version__"]
