"""Files inside a volume that holds ext2, ext3 or ext4: no mount, no root, no kernel."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from pyrep.errors import InvalidArgumentError, PathNotInFileSystemError, PyrepError
from pyrep.fs.entries import Access, FileKind, FileStat, PathLike, Storage, normalize, show
from pyrep.fs.ext_native import ROOT_INODE, ExtHandle, ExtInfo, Making

__all__ = ["ExtFileSystem"]


class ExtFileSystem:
    """An ext2, ext3 or ext4 file system on any storage of the core.

    Paths are absolute from its root; they may be bytes or str (os.fsencode). A symbolic link is
    never followed. Changes collect in memory and reach the volume with `flush` or `close`; file
    data is written at once. Only what differs is written, so a volume's pending bitmap grows by no
    more. There is no journal while writing: after a crash before `flush` has returned the volume
    needs e2fsck, or the same changes again from a whole copy.

    Use as a context manager. Leaving it flushes, after an exception too: what was done is kept
    consistent. If a change failed half-way, nothing more is written instead. Any thread may call.
    """

    def __init__(self, handle: ExtHandle, access: Access) -> None:
        self._handle = handle
        self._access = access
        self._closed = False

    @classmethod
    def open(cls, io_address: int, *, access: Access, name: str) -> Self:
        """Open the file system on a piece of storage.

        Args:
            io_address: `address` of the core's object, which must outlive this one.
            access: opened READ_ONLY, it never writes.
            name: of the volume, for messages.

        Raises:
            MissingLibraryError: pyrep was built without libext2fs.
            NotExtError, DamagedFileSystemError, NeedsRecoveryError, UnsupportedFeatureError: it is
                refused; nothing was written.
            DeviceError: the storage failed.
        """
        return cls(ExtHandle(io_address, access, name), access)

    def close(self) -> None:
        """Flush and free. Harmless when done before; it is closed after a failure too."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
        finally:
            self._handle.close()

    def discard(self) -> None:
        """Free without writing what waits. File data that was written stays written."""
        self._closed = True
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        with contextlib.suppress(PyrepError):  # the first error is the one to see
            self.close()

    @property
    def name(self) -> str:
        """The volume's name in messages."""
        return self._handle.name

    @property
    def handle(self) -> ExtHandle:
        """The same file system by inode number."""
        return self._handle

    @property
    def info(self) -> ExtInfo:
        """Sizes and room as at this moment."""
        return self._handle.info()

    @property
    def uuid(self) -> bytes:
        """The file system's 16 bytes of identity; the same in all copies of a volume."""
        return self.info.uuid

    @property
    def free_blocks(self) -> int:
        """Blocks that may be allocated, those reserved for root included."""
        return self.info.free_blocks

    @property
    def free_inodes(self) -> int:
        """Files that may be made."""
        return self.info.free_inodes

    def flush(self) -> None:
        """Write what waits and make it durable. Nothing is written when nothing changed."""
        if self._access is Access.READ_WRITE:
            self._handle.flush()

    # --- reading ----------------------------------------------------------------------------------

    def _find(self, path: bytes) -> int | None:
        inode: int | None = ROOT_INODE
        for part in path.split(b"/"):
            if not part:
                continue
            if inode is None:
                return None
            inode = self._handle.lookup(inode, part)
        return inode

    def _resolve(self, path: PathLike) -> tuple[bytes, int]:
        where = normalize(path)
        inode = self._find(where)
        if inode is None:
            raise PathNotInFileSystemError(
                f"{show(where)} isn't in {self.name}",
                hint="list the directory: is it spelled so there?",
            )
        return where, inode

    def _resolve_new(self, path: PathLike) -> tuple[int, bytes]:
        """Return the directory's inode and the name in it."""
        where = normalize(path)
        above, _, name = where.rpartition(b"/")
        if not name:
            raise InvalidArgumentError("the root is no name for a file")
        return self._resolve(above or b"/")[1], name

    def stat(self, path: PathLike) -> FileStat:
        """Return what is known of a file.

        Raises:
            PathNotInFileSystemError: there is no such path.
        """
        where, inode = self._resolve(path)
        return self._handle.stat(inode, where)

    def exists(self, path: PathLike) -> bool:
        """Whether there is such a path."""
        try:
            return self._find(normalize(path)) is not None
        except PathNotInFileSystemError:  # something on the way isn't a directory
            return False

    def list(self, path: PathLike = b"/") -> tuple[FileStat, ...]:
        """Return what lies in a directory, in the order on disk."""
        where, inode = self._resolve(path)
        return tuple(self._handle.walk(inode, where, deep=False))

    def walk(self, path: PathLike = b"/") -> tuple[FileStat, ...]:
        """Return all that lies below a directory, each directory before its content."""
        where, inode = self._resolve(path)
        return tuple(self._handle.walk(inode, where, deep=True))

    def read(self, path: PathLike, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of a regular file, by default all; fewer than asked for at its end."""
        where, inode = self._resolve(path)
        if length is None:
            length = max(0, self._handle.stat(inode, where).size - offset)
        return self._handle.read(inode, offset, length)

    def readlink(self, path: PathLike) -> bytes:
        """Return what a symbolic link says."""
        return self._handle.readlink(self._resolve(path)[1])

    def xattrs(self, path: PathLike) -> dict[bytes, bytes]:
        """Return the extended attributes; POSIX ACLs in their form on disk."""
        return self._handle.xattrs(self._resolve(path)[1])

    # --- changing ---------------------------------------------------------------------------------

    def _touch(self, directory: int) -> None:
        """Note that a directory's content changed."""
        now = time.time_ns()
        stat = self._handle.stat(directory, b"")
        self._handle.set_attributes(directory, replace(stat, mtime_ns=now, ctime_ns=now))

    def _make(self, path: PathLike, stat: FileStat, target: bytes | None = None) -> None:
        directory, name = self._resolve_new(path)
        self._handle.make(Making(stat=stat, directory=directory, name=name, target=target))
        self._touch(directory)

    def create(self, path: PathLike, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Make an empty regular file."""
        self._make(path, _new_stat(FileKind.REGULAR, mode, uid, gid))

    def mkdir(self, path: PathLike, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """Make a directory."""
        self._make(path, _new_stat(FileKind.DIRECTORY, mode, uid, gid))

    def symlink(self, path: PathLike, target: bytes, *, uid: int = 0, gid: int = 0) -> None:
        """Make a symbolic link that says `target`."""
        if not target or b"\0" in target:
            raise InvalidArgumentError(f"not a target for a symbolic link: {target!r}")
        self._make(path, _new_stat(FileKind.SYMLINK, 0o777, uid, gid), target)

    def mknod(
        self,
        path: PathLike,
        *,
        kind: FileKind,
        rdev: tuple[int, int] = (0, 0),
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
    ) -> None:
        """Make a device (`rdev` is major, minor), a FIFO or a socket."""
        if kind not in {FileKind.FIFO, FileKind.SOCKET} and not kind.is_device:
            raise InvalidArgumentError(f"mknod makes no {kind.name.lower()}")
        self._make(path, replace(_new_stat(kind, mode, uid, gid), rdev=rdev))

    def link(self, existing: PathLike, path: PathLike) -> None:
        """Give a file one more name."""
        inode = self._resolve(existing)[1]
        directory, name = self._resolve_new(path)
        self._handle.link(directory, name, inode)
        self._touch(directory)

    def unlink(self, path: PathLike) -> None:
        """Remove a name, and the file with its last one."""
        directory, name = self._resolve_new(path)
        self._handle.unlink(directory, name)
        self._touch(directory)

    def rmdir(self, path: PathLike) -> None:
        """Remove an empty directory."""
        directory, name = self._resolve_new(path)
        self._handle.rmdir(directory, name, deep=False)
        self._touch(directory)

    def remove_tree(self, path: PathLike) -> None:
        """Remove a directory with all that is below it."""
        directory, name = self._resolve_new(path)
        self._handle.rmdir(directory, name, deep=True)
        self._touch(directory)

    def truncate(self, path: PathLike, size: int) -> None:
        """Set a regular file's size; what is added is a hole."""
        self._handle.truncate(self._resolve(path)[1], size)

    def write_difference(
        self, path: PathLike, data: bytes | bytearray | memoryview, *, offset: int = 0
    ) -> int:
        """Make a part of a regular file hold `data`, writing only the blocks that differ.

        Blocks of zeros stay holes where there is a hole; the file grows when the part ends past it.

        Returns:
            The bytes of the blocks that differed.
        """
        return self._handle.write(self._resolve(path)[1], data, offset)

    def set_attributes(
        self,
        path: PathLike,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        ctime_ns: int | None = None,
        crtime_ns: int | None = None,
        flags: int | None = None,
    ) -> None:
        """Set what is given; nothing is written when all is so already."""
        where, inode = self._resolve(path)
        stat = self._handle.stat(inode, where)
        wanted = replace(
            stat,
            mode=stat.mode if mode is None else mode,
            uid=stat.uid if uid is None else uid,
            gid=stat.gid if gid is None else gid,
            atime_ns=stat.atime_ns if atime_ns is None else atime_ns,
            mtime_ns=stat.mtime_ns if mtime_ns is None else mtime_ns,
            ctime_ns=stat.ctime_ns if ctime_ns is None else ctime_ns,
            crtime_ns=stat.crtime_ns if crtime_ns is None else crtime_ns,
            flags=stat.flags if flags is None else flags,
        )
        self._handle.set_attributes(inode, wanted)

    def set_xattrs(self, path: PathLike, attributes: Mapping[bytes, bytes]) -> None:
        """Make the extended attributes exactly these; nothing is written when they are."""
        self._handle.set_xattrs(self._resolve(path)[1], attributes)


def _new_stat(kind: FileKind, mode: int, uid: int, gid: int) -> FileStat:
    now = time.time_ns()
    return FileStat(
        path=b"",
        kind=kind,
        mode=mode,
        uid=uid,
        gid=gid,
        size=0,
        nlink=1,
        inode=0,
        atime_ns=now,
        mtime_ns=now,
        ctime_ns=now,
        crtime_ns=now,
        rdev=(0, 0),
        flags=0,
        generation=0,
        blocks=0,
        may_have_xattrs=False,
        # As the kernel does it, where the file system can.
        storage=Storage.INLINE,
    )
