"""What a crash would leave of a row's pending bits, read from its system's files."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from pyrep._core import Bitmap
from pyrep.engine.alogstore import LogStore
from pyrep.engine.options import Options
from pyrep.engine.store import BitmapStore
from pyrep.errors import BitmapFileError
from pyrep.model import chunk_count
from pyrep.testing.sides import Side

__all__ = ["kept_bits"]

_MEMORY = Path("/dev/shm")  # noqa: S108


def kept_bits(side: Side) -> Bitmap:
    """Return the bits that the next open would find, if the system ended now without a close.

    The row's pages, what left its volume's activity log, and what is hot; all, under the open mark.
    Call it while no host writes. Copies may run: what they clear may be missing.
    """
    row, state = side.mirror.row, side.system.state
    record = state.volume(row.volume_id).record
    bits = Bitmap(chunk_count(record.size_bytes, row.chunk_bytes))
    # In memory if there is such a directory: nothing of it need be durable.
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as name:
        # Copies: the system has its files locked.
        files = BitmapStore(Path(name), state.record.key)
        logs = LogStore(Path(name), state.record.key, Options())
        shutil.copyfile(state.store.path_of(row.row_key), files.path_of(row.row_key))
        with files.open(row, record.key, record.size_bytes) as file:
            if file.marked_open:
                bits.fill()
                return bits
            with contextlib.suppress(BitmapFileError):  # a torn page has all of its bits set
                file.load(bits)
            if not file.marked_logged:
                return bits
        shutil.copyfile(state.logs.path_of(record.key), logs.path_of(record.key))
        log = logs.read(record)
        log.replay(row.row_key, row.chunk_bytes, bits)
        log.close()
        log.io.close()
    return bits
