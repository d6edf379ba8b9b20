"""Cuts: several links and streams at one point of the order of writes (INV-6)."""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass

from pyrep._core.apply import Apply
from pyrep._core.link import LinkCore
from pyrep._core.native import check, ffi, held, in_slices, lib
from pyrep._core.stream import Stream
from pyrep._core.volume import VolumeCore
from pyrep._core.wake import Wake
from pyrep.errors import RefusedError

__all__ = [
    "CutItem",
    "CutVerb",
    "group_cut",
]


class CutVerb(enum.IntEnum):
    """What a cut does with an item."""

    GATE = lib.REP_CUT_GATE
    SPLIT = lib.REP_CUT_SPLIT
    CORK = lib.REP_CUT_CORK
    CORK_RELEASE = lib.REP_CUT_CORK_RELEASE
    APPLIED = lib.REP_CUT_APPLIED


@dataclass(frozen=True, slots=True, kw_only=True)
class CutItem:
    """One part of a cut: a volume's gate, a link to split, a stream to cork, a number to check."""

    verb: CutVerb
    on: VolumeCore | LinkCore | Stream | Apply
    number: int = 0


def group_cut(items: Sequence[CutItem], *, timeout_s: float, wake: Wake) -> tuple[list[int], float]:
    """Do all items at one point of the order of writes (INV-6), or none.

    Returns:
        The number of each item (for CORK: the point), and how long the gates were closed, in ms.

    Raises:
        RefusedError: an item can't be done now; the message names it. Nothing has changed.
        PathLostError, TimedOutError, CancelledError: nothing has changed.
    """
    native = ffi.new("rep_cut_item[]", len(items))
    for index, item in enumerate(items):
        native[index].verb = int(item.verb)
        native[index].number = item.number
        match item.on:
            case VolumeCore():
                native[index].volume = item.on.pointer
            case LinkCore():
                native[index].link = item.on.pointer
            case Stream():
                native[index].stream = item.on.pointer
            case Apply():
                native[index].apply = item.on.pointer
    closed = ffi.new("uint64_t *")
    failed = ffi.new("int *")

    def call(deadline: int) -> int:
        return int(lib.rep_group_cut(native, len(items), deadline, wake.pointer, closed, failed))

    with held(*(item.on for item in items)):
        code = in_slices(call, timeout_s)
    if code in {-errno.EBUSY, -errno.EALREADY, -errno.EAGAIN}:
        name = items[failed[0]].verb.name if failed[0] >= 0 else "GATE"
        raise RefusedError(
            f"cannot cut: item {failed[0]} ({name}) isn't ready: {os.strerror(-code)}",
            hint="try again; if it stays so, resync the pairs that are meant",
        )
    check(code, "cutting")
    return [int(native[index].number) for index in range(len(items))], closed[0] / 1e6
