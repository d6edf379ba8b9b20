"""libext2fs, wrapped by inode number.

Every call into C releases the GIL. A negative errno becomes an exception here, once. An object may
be used from any thread: a lock lets one call in at a time, since the C side isn't made for more.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyrep.errors import DamagedFileSystemError, InvalidArgumentError
from pyrep.fs.entries import Access, FileKind, FileStat, Storage
from pyrep.fs.ext_errors import make_error, make_refusal
from pyrep.fs.ext_library import ENTRY_FORMAT, STAT_FORMAT, Native, library

__all__ = ["ROOT_INODE", "ExtHandle", "ExtInfo", "Making", "Owners", "locked_both"]

ROOT_INODE = 2

_STAT = struct.Struct(STAT_FORMAT)
_ENTRY = struct.Struct(ENTRY_FORMAT)
_NO_PARENT = 2**32 - 1
_LENGTHS = struct.Struct("=II")
_NS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtInfo:
    """Sizes and room of a file system.

    Attributes:
        cluster_blocks: blocks that are taken and freed together; 1 without bigalloc.
        has_value_inodes: large values of attributes lie in inodes of their own (ea_inode).
        has_quota: the hidden quota files are kept right; an id that is new makes them grow.
    """

    uuid: bytes
    blocks: int
    free_blocks: int
    block_bytes: int
    inodes: int
    free_inodes: int
    inode_bytes: int
    has_extents: bool
    cluster_blocks: int
    has_value_inodes: bool
    has_quota: bool
    bytes_written: int
    bytes_dirty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Whose some bytes of the volume are.

    Attributes:
        stats: every name of the files and directories that hold some, without the root.
        holds_root: the root directory holds some.
        file_bytes, free_bytes, metadata_bytes: in files, in no use, the rest.
    """

    stats: tuple[FileStat, ...]
    holds_root: bool
    file_bytes: int
    free_bytes: int
    metadata_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """A file to be made.

    Attributes:
        stat: kind, mode, owner, times, flags, generation and device number are taken from it.
        directory: inode it gets its name in.
        target: what a symbolic link says, else None.
        preferred_inode: used when it is free; 0: any.
        goal_block: where its first block goes when that is free; 0: anywhere.
        name_is_new: the caller has seen that the name doesn't exist.
    """

    stat: FileStat
    directory: int
    name: bytes
    target: bytes | None = None
    preferred_inode: int = 0
    goal_block: int = 0
    name_is_new: bool = False


def _to_stat(values: tuple[int, ...], path: bytes) -> FileStat:
    (size, blocks, atime, mtime, ctime, crtime, atime_ns, mtime_ns, ctime_ns, crtime_ns) = values[
        :10
    ]
    (inode, mode, uid, gid, links, generation, flags, major, minor, has_xattrs) = values[10:20]
    project, storage = values[20:22]
    try:
        kind = FileKind(mode & 0o170000)
    except ValueError:
        raise DamagedFileSystemError(
            f"inode {inode} has the unknown kind {mode:#o}",
            hint="check it with e2fsck -fn; another generation may be sound",
        ) from None
    return FileStat(
        path=path,
        kind=kind,
        mode=mode & 0o7777,
        uid=uid,
        gid=gid,
        size=size,
        nlink=links,
        inode=inode,
        atime_ns=atime * _NS + atime_ns,
        mtime_ns=mtime * _NS + mtime_ns,
        ctime_ns=ctime * _NS + ctime_ns,
        crtime_ns=crtime * _NS + crtime_ns,
        rdev=(major, minor),
        flags=flags,
        generation=generation,
        blocks=blocks,
        may_have_xattrs=bool(has_xattrs),
        project=project,
        storage=Storage(storage),
    )


def _stat_values(stat: FileStat) -> dict[str, int]:
    """Return the fields of a rep_ext_stat that a change takes."""
    values = {
        "mode": stat.mode | stat.kind.value,
        "uid": stat.uid,
        "gid": stat.gid,
        "flags": stat.flags,
        "generation": stat.generation,
        "project": stat.project,
        "storage": int(stat.storage),
        "device_major": stat.rdev[0],
        "device_minor": stat.rdev[1],
    }
    for name in ("atime", "mtime", "ctime", "crtime"):
        seconds, nanoseconds = divmod(getattr(stat, f"{name}_ns"), _NS)
        values[f"{name}_s"] = seconds
        values[f"{name}_ns"] = nanoseconds
    return values


@contextmanager
def locked_both(one: ExtHandle, other: ExtHandle) -> Generator[None]:
    """Hold both, in one order for all: threads that compare both ways don't lock each other."""
    first, second = sorted((one, other), key=id)
    with first.locked(), second.locked():
        yield


class ExtHandle:
    """An open file system. `close` frees it without writing what waits; `flush` writes."""

    def __init__(self, io_address: int, access: Access, name: str) -> None:
        self._ffi, self._lib = library()
        self._lock = threading.RLock()
        self.name = name
        out = self._ffi.new("rep_ext **")
        error = self._ffi.new("rep_ext_error *")
        io = self._ffi.cast("rep_io *", io_address)
        mode = (
            self._lib.REP_EXT_READ_WRITE
            if access is Access.READ_WRITE
            else self._lib.REP_EXT_READ_ONLY
        )
        self._pointer: Native = None
        if self._lib.rep_ext_open(io, mode, out, error) < 0:
            raise make_refusal(error, name)
        self._pointer = out[0]

    def close(self) -> None:
        """Free it. Harmless when done before."""
        with self._lock:
            pointer, self._pointer = self._pointer, None
            if pointer is not None:
                self._lib.rep_ext_free(pointer)

    def __del__(self) -> None:
        if getattr(self, "_pointer", None) is not None:
            self.close()

    @property
    def pointer(self) -> Native:
        """The C object, to be used under the lock."""
        if self._pointer is None:
            raise InvalidArgumentError(f"the file system in {self.name} is closed")
        return self._pointer

    @contextmanager
    def locked(self) -> Generator[Native]:
        """Hold off other threads and yield the C object."""
        with self._lock:
            yield self.pointer

    def check(self, code: int, doing: str) -> int:
        """Raise what a failed call means; under the lock, or the text is another call's."""
        if code < 0:
            text = self._ffi.string(self._lib.rep_ext_message(self.pointer))
            said = text.decode("utf-8", "replace") or os.strerror(-code)
            raise make_error(code, f"cannot {doing} in {self.name}: {said}")
        return code

    def _call(self, doing: str, function: Callable[..., int], *arguments: Native) -> int:
        with self.locked() as pointer:
            return self.check(function(pointer, *arguments), doing)

    def flush(self) -> None:
        """Write what waits and make it durable."""
        self._call("write changes", self._lib.rep_ext_flush)

    def info(self) -> ExtInfo:
        """Return sizes and room as at this moment."""
        out = self._ffi.new("rep_ext_info *")
        with self.locked() as pointer:
            self._lib.rep_ext_info_get(pointer, out)
        return ExtInfo(
            uuid=bytes(out.uuid),
            blocks=out.blocks,
            free_blocks=out.free_blocks,
            block_bytes=out.block_bytes,
            inodes=out.inodes,
            free_inodes=out.free_inodes,
            inode_bytes=out.inode_bytes,
            has_extents=bool(out.has_extents),
            cluster_blocks=out.cluster_blocks,
            has_value_inodes=bool(out.has_value_inodes),
            has_quota=bool(out.has_quota),
            bytes_written=out.bytes_written,
            bytes_dirty=out.bytes_dirty,
        )

    def lookup(self, directory: int, name: bytes) -> int | None:
        """Return the inode that a name has in a directory, or None."""
        out = self._ffi.new("uint32_t *")
        with self.locked() as pointer:
            code = self._lib.rep_ext_lookup(pointer, directory, name, len(name), out)
            if code == -errno.ENOENT:
                return None
            self.check(code, "look up a name")
        return int(out[0])

    def stat(self, inode: int, path: bytes) -> FileStat:
        """Return what an inode says, under the given path."""
        out = self._ffi.new("rep_ext_stat *")
        self._call("read an inode", self._lib.rep_ext_stat_get, inode, out)
        values = _STAT.unpack(self._ffi.buffer(out))
        return _to_stat(values, path)

    def walk(self, inode: int, path: bytes, *, deep: bool) -> list[FileStat]:
        """Return what lies in a directory, or below it; each directory before its content."""
        listing = self._ffi.new("rep_ext_listing *")
        function = self._lib.rep_ext_walk
        try:
            self._call("list a directory", function, inode, int(deep), listing)
            return self._unpack_listing(listing, path)
        finally:
            self._lib.rep_ext_listing_free(listing)

    def owners(self, extents: Sequence[tuple[int, int]]) -> Owners:
        """Return whose the bytes of (offset, length) are: ascending, not overlapping."""
        array = self._ffi.new("rep_extent[]", [*extents])
        owners = self._ffi.new("rep_ext_owners *")
        listing = self._ffi.new("rep_ext_listing *")
        names = self._lib.rep_ext_owners_names
        try:
            self._call(
                "find files by their blocks",
                self._lib.rep_ext_owners_get,
                array,
                len(extents),
                owners,
            )
            inodes = self._ffi.unpack(owners.inodes, owners.count) if owners.count else []
            self._call("find names", names, owners, listing)
            stats = self._unpack_listing(listing, b"/")
            wanted = self._ffi.unpack(listing.entries, listing.count) if listing.count else []
            return Owners(
                stats=tuple(
                    stat for stat, entry in zip(stats, wanted, strict=True) if entry.is_wanted
                ),
                holds_root=ROOT_INODE in inodes,
                file_bytes=owners.file_bytes,
                free_bytes=owners.free_bytes,
                metadata_bytes=owners.metadata_bytes,
            )
        finally:
            self._lib.rep_ext_listing_free(listing)
            self._lib.rep_ext_owners_free(owners)

    def _unpack_listing(self, listing: Native, path: bytes) -> list[FileStat]:
        if listing.count == 0:
            return []
        entries = self._ffi.buffer(listing.entries, listing.count * _ENTRY.size)
        names = bytes(self._ffi.buffer(listing.names, listing.names_length))
        top = b"" if path == b"/" else path
        found: list[FileStat] = []
        for values in _ENTRY.iter_unpack(entries):
            offset, length, parent = values[22:25]
            above = top if parent == _NO_PARENT else found[parent].path
            found.append(_to_stat(values, above + b"/" + names[offset : offset + length]))
        return found

    def readlink(self, inode: int) -> bytes:
        """Return a symbolic link's target."""
        buffer = bytearray(4097)
        length = self._ffi.new("size_t *")
        target = self._ffi.from_buffer(buffer, require_writable=True)
        self._call(
            "read a symbolic link", self._lib.rep_ext_readlink, inode, target, len(buffer), length
        )
        return bytes(buffer[: length[0]])

    def read(self, inode: int, offset: int, length: int) -> bytes:
        """Return at most `length` bytes of a file; fewer only at its end."""
        buffer = bytearray(length)
        got = self._ffi.new("uint64_t *")
        target = self._ffi.from_buffer(buffer, require_writable=True)
        self._call("read a file", self._lib.rep_ext_read, inode, target, length, offset, got)
        return bytes(memoryview(buffer)[: got[0]])

    def xattrs(self, inode: int) -> dict[bytes, bytes]:
        """Return the extended attributes; POSIX ACLs in their form on disk."""
        out = self._ffi.new("char **")
        length = self._ffi.new("size_t *")
        self._call("read attributes", self._lib.rep_ext_xattrs_get, inode, out, length)
        try:
            packed = bytes(self._ffi.buffer(out[0], length[0])) if length[0] else b""
        finally:
            self._lib.rep_ext_buffer_free(out[0])
        found: dict[bytes, bytes] = {}
        at = 0
        while at < len(packed):
            name_length, value_length = _LENGTHS.unpack_from(packed, at)
            at += _LENGTHS.size
            value_at = at + name_length
            found[packed[at:value_at]] = packed[value_at : value_at + value_length]
            at = value_at + value_length
        return found

    def set_xattrs(self, inode: int, attributes: Mapping[bytes, bytes]) -> None:
        """Make the extended attributes exactly these."""
        packed = b"".join(
            _LENGTHS.pack(len(name), len(value)) + name + value
            for name, value in attributes.items()
        )
        self._call("set attributes", self._lib.rep_ext_xattrs_set, inode, packed, len(packed))

    def reserve(self, source: ExtHandle, source_inode: int) -> None:
        """Keep free what a file of `source` has, for the file made like it, until the flush."""
        with locked_both(self, source):
            code = self._lib.rep_ext_reserve(self.pointer, source.pointer, source_inode)
            self.check(code, "reserve blocks")

    def first_block(self, inode: int) -> int:
        """Return the block that holds the start of a file or directory; 0: none."""
        with self.locked() as pointer:
            return int(self._lib.rep_ext_first_block(pointer, inode))

    def make(self, making: Making) -> int:
        """Make a file and its name; return its inode."""
        name = self._ffi.new("char[]", making.name)
        target = self._ffi.NULL if making.target is None else self._ffi.new("char[]", making.target)
        wanted = self._ffi.new(
            "rep_ext_making *",
            {
                "stat": _stat_values(making.stat),
                "name": name,
                "target": target,
                "directory": making.directory,
                "preferred_inode": making.preferred_inode,
                "goal_block": making.goal_block,
                "name_is_new": int(making.name_is_new),
            },
        )
        out = self._ffi.new("uint32_t *")
        self._call("make a file", self._lib.rep_ext_make, wanted, out)
        return int(out[0])

    def link(self, directory: int, name: bytes, inode: int, *, name_is_new: bool = False) -> None:
        """Give a file one more name."""
        self._call("make a link", self._lib.rep_ext_link, directory, name, inode, int(name_is_new))

    def unlink(self, directory: int, name: bytes) -> None:
        """Remove a name, and the file with its last one."""
        self._call("remove a file", self._lib.rep_ext_unlink, directory, name)

    def rmdir(self, directory: int, name: bytes, *, deep: bool) -> None:
        """Remove a directory, with all below it when `deep`."""
        self._call("remove a directory", self._lib.rep_ext_rmdir, directory, name, int(deep))

    def set_attributes(self, inode: int, stat: FileStat) -> None:
        """Set mode, owner, times and flags as `stat` has them."""
        wanted = self._ffi.new("rep_ext_stat *", _stat_values(stat))
        self._call(
            "set a file's mode, owner or times", self._lib.rep_ext_attributes_set, inode, wanted
        )

    def truncate(self, inode: int, size: int) -> None:
        """Set a file's size."""
        self._call("set a file's size", self._lib.rep_ext_truncate, inode, size)

    def write(self, inode: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Write by difference; return the bytes of the blocks that differed."""
        changed = self._ffi.new("uint64_t *")
        source = self._ffi.from_buffer(data)
        self._call(
            "write a file", self._lib.rep_ext_write, inode, source, len(data), offset, changed
        )
        return int(changed[0])
