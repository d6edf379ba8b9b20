"""Volumes at work: the write path, fences, shared marks."""

from __future__ import annotations

import enum
import errno
import threading
import time
from collections.abc import Callable, Sequence

from pyrep._core.bitmap import Bitmap
from pyrep._core.io import Io
from pyrep._core.native import (
    NO_DEADLINE,
    SLICE_NS,
    Buffer,
    Owned,
    Pointer,
    check,
    error_of,
    ffi,
    held,
    in_slices,
    lib,
)
from pyrep._core.tree import Tree
from pyrep._core.wake import Wake
from pyrep.errors import (
    CancelledError,
    FencedError,
    MirrorLostError,
    OutOfRangeError,
    PyrepError,
)

__all__ = [
    "Fence",
    "VolumeCore",
    "VolumeIo",
    "move_volumes",
    "pwrite_at_once",
    "pwrite_begin",
    "scratch",
]


class Fence(enum.IntFlag):
    """What hosts may not do because of the volume's role; FIRST: not before it was noted."""

    NONE = lib.REP_FENCE_NONE
    WRITES = lib.REP_FENCE_WRITES
    READS = lib.REP_FENCE_READS
    FIRST = lib.REP_FENCE_FIRST


class _Scratch(threading.local):
    """Per thread: what a write's out-parameters need, allocated once."""

    def __init__(self) -> None:
        self.ticket = ffi.new("rep_ticket *")
        self.done = ffi.new("uint64_t *")


scratch = _Scratch()
"""What `pwrite_begin` wants of the thread that calls it."""


def _new_ticket() -> Pointer:
    """Return this thread's ticket, with nothing in it."""
    ticket = scratch.ticket
    ticket.count = ticket.unmirrored = ticket.awaited = 0
    return ticket


pwrite_at_once: Callable[[Pointer, bytes, int, int, int], int] = lib.rep_door_pwrite
"""The whole of most writes, in one call: a volume's door, bytes, their length, the offset, a token.

It answers 0, or a code that `VolumeCore.pwrite_on` goes on from. For who counts nanoseconds: a
method around it costs a fifth of what a tracked write costs above a plain one.
"""

pwrite_begin: Callable[[Pointer, bytes, int, int, int, int, Pointer, Pointer, Pointer], int] = (
    lib.rep_door_pwrite_begin
)
"""The whole of most writes to a synchronous mirror, its answer included.

A volume's door, bytes, their length, the offset, a token; `SLICE_NS`, the volume's `waking`, and
`scratch`'s ticket and done.

It answers 0, or a code that `VolumeCore.pwrite_begun` goes on from. For who shares the interpreter
with other writers: whatever stands around it they wait for.
"""


class VolumeCore(Owned):
    """A volume at work. `wake` ends its waits (close); `name` is for messages.

    Attributes:
        door: what `pwrite_at_once` wants to know it by.
        waking: what `pwrite_begin` wants to know its `wake` by.
    """

    def __init__(self, io: Io, tree: Tree, *, name: str, wake: Wake) -> None:
        out = ffi.new("rep_volume **")
        check(lib.rep_volume_new(io.pointer, tree.pointer, out), f"opening volume {name}")
        super().__init__(out[0], lib.rep_volume_free, needs=[io, tree, wake])
        door = ffi.new("rep_door **")
        check(lib.rep_door_new(out[0], door), f"opening volume {name}")
        self.name = name
        self.io = io
        self.tree = tree
        self.wake = wake
        self.waking = wake.pointer
        # Kept when the volume is closed: whoever comes too late finds it shut.
        self.door = ffi.gc(door[0], lib.rep_door_free)
        self.at_once = True
        """Whether `pwrite_at_once` is worth a try: the last write waited for no peer."""
        self._inside: Pointer = None
        self.note_first: Callable[[], None] | None = None
        """Called by the first write that meets `Fence.FIRST`: to note it, and to lift the fence."""

    def close(self) -> None:
        """Give it up; whoever comes later is told that it is closing."""
        if lib.rep_door_shut(self.door, 0):
            self._inside = self._pointer  # freed with this object, which who is inside refers to
        super().close()

    def enter(self) -> None:
        """Count a user in; until `leave` the C object isn't freed. CancelledError: it is shut."""
        if lib.rep_door_enter(self.door):
            raise CancelledError(f"volume {self.name} is closing")

    def leave(self) -> None:
        """Count a user out."""
        lib.rep_door_leave(self.door)

    def shut(self, timeout_s: float) -> bool:
        """Let nobody in any more; return whether everybody has left: only then it may be freed."""
        door = self.door
        return not in_slices(lambda deadline: int(lib.rep_door_shut(door, deadline)), timeout_s)

    def let_in(self) -> None:
        """Undo `shut`."""
        lib.rep_door_open(self.door)

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return int(lib.rep_volume_size(self.pointer))

    def pread_into(self, buffer: bytearray | memoryview, offset: int) -> None:
        """Fill `buffer` from `offset` on. FencedError: its content is inconsistent."""
        with ffi.from_buffer(buffer, require_writable=True) as target:
            length = len(target)
            code = lib.rep_door_pread(self.door, target, length, offset)
        if code:
            raise self._refusal(code, "reading", offset, length)

    def pwrite(self, data: Buffer, offset: int, *, token: int = 0, ack_timeout_s: float) -> None:
        """Write `data`; return when its synchronous mirrors have acknowledged, or were given up.

        `ack_timeout_s` is for each piece (1 MiB), its wait for room and for acknowledgement.
        """
        # Bytes go to C as they are; making a buffer object of them first costs a quarter of the
        # call.
        code = -errno.EAGAIN
        if self.at_once and type(data) is bytes:
            code = pwrite_at_once(self.door, data, len(data), offset, token)
        elif self.at_once:
            with ffi.from_buffer(data) as source:
                code = pwrite_at_once(self.door, source, len(source), offset, token)
        if code:
            self.pwrite_on(code, data, offset, token=token, ack_timeout_s=ack_timeout_s)

    def pwrite_on(
        self, code: int, data: Buffer, offset: int, *, token: int = 0, ack_timeout_s: float
    ) -> None:
        """Go on with a write that couldn't be done at once: raise why, or wait."""
        if code not in {-errno.EAGAIN, -lib.REP_FENCED_FIRST}:
            raise self._refusal(code, "writing", offset, memoryview(data).nbytes)
        # One call does most of them, its wait for the mirror included.
        with ffi.from_buffer(data) as source:
            code = lib.rep_door_pwrite_begin(
                *(self.door, source, len(source), offset, token),
                *(SLICE_NS, self.waking, scratch.ticket, scratch.done),
            )
        self.at_once = False
        if code:
            self.pwrite_begun(code, data, offset, token=token, ack_timeout_s=ack_timeout_s)

    def pwrite_begun(
        self, code: int, data: Buffer, offset: int, *, token: int = 0, ack_timeout_s: float
    ) -> None:
        """Go on with a write that `pwrite_begin` didn't end: raise why, or wait."""
        if code == lib.REP_DOOR_AT_ONCE:
            self.at_once = True
            return
        begun = 0 if code == -errno.EINPROGRESS else code
        with ffi.from_buffer(data) as source:

            def call(done: int, deadline: int, out: Pointer) -> int:
                return int(
                    lib.rep_door_pwrite_on(
                        *(self.door, source + done, len(source) - done, offset + done, token),
                        *(deadline, self.waking, scratch.ticket, out),
                    )
                )

            self._write("writing", call, len(source), offset, ack_timeout_s, begun=begun)
        self.at_once = not scratch.ticket.awaited

    def zero(self, length: int, offset: int, *, token: int = 0, ack_timeout_s: float) -> None:
        """Make the range read as zeros."""
        self._wipe(
            "zeroing", lib.rep_volume_zero, length, offset, token=token, ack_timeout_s=ack_timeout_s
        )

    def trim(self, length: int, offset: int, *, token: int = 0, ack_timeout_s: float) -> None:
        """Say that the range isn't needed; it reads as zeros."""
        self._wipe(
            "trimming",
            lib.rep_volume_trim,
            length,
            offset,
            token=token,
            ack_timeout_s=ack_timeout_s,
        )

    def _wipe(
        self,
        verb: str,
        operation: Callable[..., int],
        length: int,
        offset: int,
        *,
        token: int,
        ack_timeout_s: float,
    ) -> None:
        def call(done: int, deadline: int, out: Pointer) -> int:
            wake, ticket = self.wake.pointer, scratch.ticket
            return operation(
                self.pointer, length - done, offset + done, token, deadline, wake, ticket, out
            )

        self._write(verb, call, length, offset, ack_timeout_s)

    def _write(
        self,
        verb: str,
        call: Callable[[int, int, Pointer], int],
        length: int,
        offset: int,
        ack_timeout_s: float,
        *,
        begun: int | None = None,
    ) -> None:
        """Write, or go on with what was `begun`: what a first call has answered."""
        self.enter()
        try:
            code = self._write_inside(call, ack_timeout_s, begun)
        finally:
            self.leave()
        if code:
            raise self._refusal(code, verb, offset, length)

    def _write_inside(
        self, call: Callable[[int, int, Pointer], int], ack_timeout_s: float, begun: int | None
    ) -> int:
        out = scratch.done
        ticket = _new_ticket() if begun is None else scratch.ticket
        done = 0
        end_s = time.monotonic() + ack_timeout_s
        while True:
            code = call(done, time.monotonic_ns() + SLICE_NS, out) if begun is None else begun
            begun = None
            done += out[0]
            if code == -lib.REP_FENCED_FIRST and self.note_first is not None:
                self.note_first()
            elif code != -errno.ETIMEDOUT:
                break
            if out[0]:
                end_s = time.monotonic() + ack_timeout_s
            elif time.monotonic() >= end_s and lib.rep_ticket_give_up_room(ticket):
                # A queue that takes nothing for so long is a path that is lost.
                end_s = time.monotonic() + ack_timeout_s
        if ticket.count:
            waited = self._acknowledged(ticket, max(end_s - time.monotonic(), 0.0))
            code = code or waited
        return code

    def _acknowledged(self, ticket: Pointer, ack_timeout_s: float) -> int:
        """Wait for the peers; past the time-out the path counts as lost and the write as marked.

        Returns:
            0; or -REP_FENCED_MIRROR: a guarded mirror was lost meanwhile.
        """
        wake = self.wake.pointer

        def wait(deadline: int) -> int:
            return int(lib.rep_ticket_wait(ticket, deadline, wake))

        code = in_slices(wait, ack_timeout_s)
        if code == -errno.ETIMEDOUT:
            return int(lib.rep_ticket_give_up(ticket))
        if code and code != -lib.REP_FENCED_MIRROR:
            raise error_of(code, f"waiting for the mirror of volume {self.name}")
        return code

    def flush(self, *, ack_timeout_s: float) -> None:
        """Make the volume durable, and its mirrors in mode durable too."""
        # One call, as of a write: who wakes from the disk finds all caches cold.
        ticket = scratch.ticket
        code = lib.rep_door_flush(self.door, ticket)
        if code == -errno.EINPROGRESS:
            self.enter()
            try:
                code = self._acknowledged(ticket, ack_timeout_s)
            finally:
                self.leave()
        if code:
            raise self._refusal(code, "flushing", 0, 0)

    def _refusal(self, code: int, verb: str, offset: int, length: int) -> PyrepError:
        what = f"{verb} volume {self.name}"
        match -code:
            case errno.ECANCELED:
                return CancelledError(f"volume {self.name} is closing")
            case errno.ERANGE:
                return OutOfRangeError(
                    f"cannot go on {what}: bytes {offset}…{offset + length} reach past its end "
                    f"at {self.size_bytes}"
                )
            case lib.REP_FENCED_ROLE:
                return FencedError(
                    f"cannot go on {what}: it is the target of a pair or a generation",
                    hint="write to the pair's source, or dissolve the pair",
                )
            case lib.REP_FENCED_MIRROR:
                return MirrorLostError(
                    f"cannot go on {what}: its remote mirror can't be reached, and its fence level "
                    f"is data",
                    hint="restore the path; or split the pair to go on without the mirror",
                )
            case lib.REP_FENCED_LEASE:
                return FencedError(
                    f"cannot go on {what}: a restore holds it",
                    hint="wait until the workflow is done, or abandon it",
                )
            case lib.REP_FENCED_READS:
                return FencedError(
                    f"cannot go on {what}: it is the target of a running copy and inconsistent",
                    hint="wait until the pair is DUPLEX",
                )
            case _:
                return error_of(code, what)

    def fence(self, fence: Fence) -> None:
        """Set the role fence; no write of the old rule is under way when it returns."""
        what = f"fencing volume {self.name}"
        check(lib.rep_volume_fence(self.pointer, int(fence), NO_DEADLINE, ffi.NULL), what)

    def lease(self, token: int) -> None:
        """Let only writes with `token` in; 0 lets everybody in."""
        what = f"fencing volume {self.name}"
        check(lib.rep_volume_lease(self.pointer, token, NO_DEADLINE, ffi.NULL), what)

    def epochs(self) -> list[tuple[int, Bitmap]]:
        """Return the intervals of shared marks as (sequence, borrowed bitmap), ascending."""
        count = lib.rep_volume_epoch_count(self.pointer)
        return [
            (
                int(lib.rep_volume_epoch_sequence(self.pointer, index)),
                Bitmap(0, pointer=lib.rep_volume_epoch_bitmap(self.pointer, index), keep=self),
            )
            for index in range(count)
        ]

    def push_epoch(self, chunk_bytes: int, sequence: int) -> None:
        """Append an empty interval: for restoring what a clean close saved."""
        code = lib.rep_volume_epoch_push(self.pointer, chunk_bytes, sequence)
        check(code, f"restoring marks of volume {self.name}")

    def moved_to(self, tree: Tree) -> None:
        """Remember the tree that `Tree` moves have put it in; the old one stays alive with it."""
        self.handle.keep(tree.handle, tree.handle)
        self.tree = tree


def move_volumes(volumes: Sequence[VolumeCore], source: Tree, target: Tree) -> None:
    """Move volumes between trees with both gates closed."""
    if source is target:
        return
    with held(*volumes):
        array = ffi.new("rep_volume *[]", [volume.pointer for volume in volumes])
        code = lib.rep_volumes_move(array, len(volumes), source.pointer, target.pointer)
    check(code, "joining trees")
    for volume in volumes:
        volume.moved_to(target)


class VolumeIo(Io):
    """A volume as storage for a file system: every write takes the tracked path."""

    def __init__(self, volume: VolumeCore, *, token: int = 0, ack_timeout_s: float) -> None:
        out = ffi.new("rep_io **")
        timeout_ns = int(ack_timeout_s * 1e9)
        volume.enter()  # counted as long as it is open
        try:
            wake = volume.wake.pointer
            code = lib.rep_volume_io_new(volume.pointer, token, timeout_ns, wake, out)
            check(code, f"opening volume {volume.name}")
        except BaseException:
            volume.leave()
            raise

        def free(pointer: Pointer) -> None:
            lib.rep_io_free(pointer)
            volume.leave()

        super().__init__(out[0], f"volume {volume.name}", free=free, keep=[volume, volume.wake])
