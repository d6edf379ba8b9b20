"""What a volume's activity log is and does, as users see it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pyrep._core import Alog, AlogShape

__all__ = ["ActivityInfo", "activity_of", "no_activity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityInfo:
    """A volume's activity log: the regions that a crash would make pending.

    Attributes:
        state: working; bypassed (its file can't be written: writes go on, and a crash makes
            everything pending), missing (it couldn't be made: the same), failed (nor can that be
            noted: writes fail), opened (not begun).
        error: why it doesn't work, in words; empty while it does.
        region_bytes: a region's size.
        hot_count, hot_most: regions that are hot, and that can be.
        hot_bytes: their size: at most so much is copied after a crash beside what was pending.
        admission_count: regions that became hot since it began.
        transaction_count: durable writes of the log.
        volume_flush_count: flushes of the volume, so that regions could leave.
        checkpoint_count, page_flush_count: writings of the bitmaps of what left, and the flushes
            of bitmap files that this took.
        ring_used_bytes, ring_bytes: of the log's file, what a checkpoint would free, and all of it.
    """

    state: str
    error: str
    region_bytes: int
    hot_count: int
    hot_most: int
    hot_bytes: int
    admission_count: int
    transaction_count: int
    volume_flush_count: int
    checkpoint_count: int
    page_flush_count: int
    ring_used_bytes: int
    ring_bytes: int


_BLOCK_BYTES = 4096


def activity_of(log: Alog, size_bytes: int) -> ActivityInfo:
    """Return what a log of a volume of this size does."""
    info = log.info()
    region_bytes = log.region_bytes
    return ActivityInfo(
        state=info.state.name.lower(),
        error=os.strerror(info.error) if info.error else "",
        region_bytes=region_bytes,
        hot_count=info.hot,
        hot_most=log.hot_regions,
        hot_bytes=min(info.hot * region_bytes, size_bytes),
        admission_count=info.admissions,
        transaction_count=info.transactions,
        volume_flush_count=info.volume_flushes,
        checkpoint_count=info.checkpoints,
        page_flush_count=info.page_flushes,
        ring_used_bytes=info.used_blocks * _BLOCK_BYTES,
        ring_bytes=info.ring_blocks * _BLOCK_BYTES,
    )


def no_activity(shape: AlogShape, error: str) -> ActivityInfo:
    """Return what there is to tell of a log that couldn't be made."""
    return ActivityInfo(
        state="missing",
        error=error,
        region_bytes=shape.region_bytes,
        hot_count=0,
        hot_most=shape.hot_regions,
        hot_bytes=0,
        admission_count=0,
        transaction_count=0,
        volume_flush_count=0,
        checkpoint_count=0,
        page_flush_count=0,
        ring_used_bytes=0,
        ring_bytes=0,
    )
