"""What a file system says of its files: frozen nouns that own no handle."""

from __future__ import annotations

import enum
import os
import stat as stat_bits
from dataclasses import dataclass

from pyrep.errors import InvalidArgumentError

__all__ = ["Access", "FileKind", "FileStat", "PathLike", "Storage", "join", "normalize", "show"]

PathLike = bytes | str


class Access(enum.Enum):
    """How a file system is opened."""

    READ_ONLY = "read-only"
    READ_WRITE = "read-write"


class FileKind(enum.Enum):
    """The kinds of file, by the bits that a mode carries for them."""

    REGULAR = stat_bits.S_IFREG
    DIRECTORY = stat_bits.S_IFDIR
    SYMLINK = stat_bits.S_IFLNK
    CHARACTER_DEVICE = stat_bits.S_IFCHR
    BLOCK_DEVICE = stat_bits.S_IFBLK
    FIFO = stat_bits.S_IFIFO
    SOCKET = stat_bits.S_IFSOCK

    @property
    def is_device(self) -> bool:
        """Whether it has a device number."""
        return self in {FileKind.CHARACTER_DEVICE, FileKind.BLOCK_DEVICE}


class Storage(enum.IntFlag):
    """How a file is stored, as far as it matters to who reads or restores it.

    INLINE: inside its inode. ENCRYPTED: names and content need its host's key. VERITY: its content
    is sealed. CASEFOLDED: a directory whose names are alike in any case.
    """

    INLINE = 1
    ENCRYPTED = 2
    VERITY = 4
    CASEFOLDED = 8


PLAIN = Storage(0)
"""Stored like any file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStat:
    """One file, or one of its names.

    Attributes:
        path: absolute inside the file system, bytes as they are on disk.
        mode: permission bits with setuid, setgid and sticky; `kind` has the rest.
        size: bytes; of a symbolic link, its target's.
        nlink: names the file has.
        atime_ns, mtime_ns, ctime_ns, crtime_ns: nanoseconds since 1970; crtime_ns is 0 where the
            file system doesn't keep the time of creation.
        rdev: (major, minor) of a device, else (0, 0).
        flags: what chattr sets, as in the inode.
        generation: the inode's number among those that used its place.
        blocks: file system blocks allocated, those of the file's map included.
        may_have_xattrs: False says that there are surely none.
        project: the number that project quotas count it for; 0 where inodes have none.
        storage: encrypted, sealed, casefolded, inside its inode. In an encrypted directory the
            names are base64url of what is on disk.
    """

    path: bytes
    kind: FileKind
    mode: int
    uid: int
    gid: int
    size: int
    nlink: int
    inode: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    crtime_ns: int
    rdev: tuple[int, int]
    flags: int
    generation: int
    blocks: int
    may_have_xattrs: bool
    project: int = 0
    storage: Storage = PLAIN

    @property
    def name(self) -> bytes:
        """The last part of the path; empty for the root."""
        return self.path.rpartition(b"/")[2]

    @property
    def parent(self) -> bytes:
        """The path of the directory; the root is its own parent."""
        return self.path.rpartition(b"/")[0] or b"/"


def show(path: bytes) -> str:
    r"""Return a path for people: UTF-8 where it is, `\xNN` where it isn't."""
    return path.decode("utf-8", "backslashreplace")


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of a name in a directory."""
    return b"/" + name if directory == b"/" else directory + b"/" + name


def normalize(path: PathLike) -> bytes:
    """Return a path as bytes, absolute from the file system's root, without empty parts and dots.

    Raises:
        InvalidArgumentError: it has a `..`, which could lead out; a NUL; or it is empty.
    """
    raw = os.fsencode(path)
    if not raw or b"\0" in raw:
        raise InvalidArgumentError(f"not a path: {raw!r}")
    parts = [part for part in raw.split(b"/") if part not in {b"", b"."}]
    if b".." in parts:
        raise InvalidArgumentError(
            f"the path {show(raw)} has '..' in it",
            hint="give the path from the file system's root, without '..'",
        )
    return b"/" + b"/".join(parts)
