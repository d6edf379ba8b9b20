"""Reading ahead: large frames are received and decrypted beside the use of those before them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from pyrep.interconnect.channel import Channel
from pyrep.interconnect.framereader import FrameReader, new_memory

__all__ = ["ReadAhead"]

_LARGE_BYTES = 64 << 10
"""A frame to whose receiver's work another thread is worth being woken."""

_SLOTS = 4
"""Memory of a frame each: one is used, one is ready, one is read into, one is on its way back."""

_PAUSE_S = 0.002
"""Nothing comes for so long after a large frame: the other thread gives the reading back."""

_Read = tuple[memoryview, memoryview]
"""A frame, and the memory that it stands in."""


class ReadAhead:
    """The frames of a channel in their order, each valid until the next is asked for.

    Who asks for them receives small ones itself: waking another thread would cost a synchronous
    write more than its decryption. From a large one on, a thread of this does until they pause; no
    more than `_SLOTS` frames are here at any time. What ends the channel, or isn't a frame, is
    raised to who asks, when the frames before it have been given out.
    """

    def __init__(self, channel: Channel, name: str, heard: Callable[[], None]) -> None:
        """Begin with nothing read.

        Args:
            channel: where they come; nobody else receives from it.
            name: the thread's.
            heard: called when one has come, by who received it.
        """
        self._channel = channel
        self._heard = heard
        self._reader = FrameReader(channel)
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._ready: SimpleQueue[_Read | BaseException | None] = SimpleQueue()
        """Frames; behind them None when the reading is given back, or what was raised."""
        self._put_count = 0
        self._taken_count = 0
        self._turn = threading.Semaphore(0)
        self._over = False
        self._thread = threading.Thread(target=self._read_ahead, name=name, daemon=True)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it: the channel too, if a thread may wait for it."""
        if self._thread.ident is None:
            return
        self._over = True
        self._channel.close()
        self._free.put(memoryview(b""))
        self._turn.release()
        self._thread.join()

    @property
    def has_next(self) -> bool:
        """Whether the next frame is here: of those that were read ahead, and of no others."""
        return self._put_count > self._taken_count

    def __iter__(self) -> Iterator[memoryview]:
        """Yield frames as they come, unchecked.

        Raises:
            WireError, PathLostError: as `FrameReader.next`.
        """
        while True:
            frame = self._next()
            if len(frame) < _LARGE_BYTES:
                yield frame
            else:
                yield from self._beside(frame)

    def _next(self) -> memoryview:
        frame = self._reader.next()
        self._heard()
        return frame

    def _beside(self, frame: memoryview) -> Iterator[memoryview]:
        """Yield this frame and those that are read ahead meanwhile."""
        if self._thread.ident is None:
            for _ in range(_SLOTS - 1):
                self._free.put(new_memory())
            self._thread.start()
        # It doesn't wait: when the reading was given back, all memory was.
        memory = self._reader.go_on_in(self._free.get())
        self._turn.release()
        while True:
            yield frame
            self._free.put(memory)
            read = self._ready.get()
            if read is None:
                return
            if isinstance(read, BaseException):
                raise read
            self._taken_count += 1
            frame, memory = read

    # --- the thread ------------------------------------------------------------------------------

    def _read_ahead(self) -> None:
        while True:
            self._turn.acquire()
            if self._over:
                return
            try:
                self._read_until_they_pause()
            except BaseException as error:  # noqa: BLE001 (raised to who asks)
                self._ready.put(error)
            else:
                self._ready.put(None)

    def _read_until_they_pause(self) -> None:
        patience_s = _PAUSE_S
        while self._reader.has_begun or self._channel.has_come(patience_s):
            frame = self._next()
            fresh = self._free.get()
            if self._over:
                return
            memory = self._reader.go_on_in(fresh)
            self._put_count += 1  # before it can be taken
            self._ready.put((frame, memory))
            patience_s = _PAUSE_S if len(frame) >= _LARGE_BYTES else 0.0
