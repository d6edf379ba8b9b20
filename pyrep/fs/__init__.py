"""Files inside volumes: reading, selecting, comparing and restoring them."""

from pyrep.fs.entries import Access, FileKind, FileStat
from pyrep.fs.ext import ExtFileSystem

__all__ = ["Access", "ExtFileSystem", "FileKind", "FileStat"]
