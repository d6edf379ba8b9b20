"""The replay of an ext3 or ext4 file system's journal (`csrc/rep_jbd2.h`)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pyrep._core.io import Io
from pyrep._core.native import ffi, lib

__all__ = ["JournalRefusal", "JournalReport", "replay_journal"]


class JournalRefusal(enum.Enum):
    """Why a journal wasn't replayed."""

    NONE = 0
    UNSUPPORTED = 1
    DAMAGED = 2
    UNREADABLE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalReport:
    """What a replay did.

    Attributes:
        recovered: the file system needed recovery and has been recovered.
        from_backup: the journal was found by the superblock's copy of its inode.
        failed: a transaction in the log was damaged, or the journal had recorded an error: the
            file system is marked as having errors.
        failed_sequence: that transaction, or 0.
        first_sequence: the log's first transaction.
        transactions: how many were replayed.
        blocks: blocks that were written, each once.
        revoked: copies in the log that revoke records kept back.
        block_bytes: bytes of one block.
        refusal: why nothing was replayed.
        text: the same in words.
        errno_code: of storage that failed, or 0.
    """

    recovered: bool
    from_backup: bool
    failed: bool
    failed_sequence: int
    first_sequence: int
    transactions: int
    blocks: int
    revoked: int
    block_bytes: int
    refusal: JournalRefusal
    text: str
    errno_code: int


def replay_journal(io: Io) -> JournalReport:
    """Replay the journal of the file system on `io`, if it needs recovery.

    Raises nothing: what was refused stands in the report. After a refusal of UNREADABLE it may have
    stopped half-way, and may be called again; after the others nothing was written.
    """
    out = ffi.new("rep_jbd2_report *")
    code = lib.rep_jbd2_replay(io.pointer, out)
    return JournalReport(
        recovered=bool(out.recovered),
        from_backup=bool(out.from_backup),
        failed=bool(out.failed),
        failed_sequence=int(out.failed_sequence),
        first_sequence=int(out.first_sequence),
        transactions=int(out.transactions),
        blocks=int(out.blocks),
        revoked=int(out.revoked),
        block_bytes=int(out.block_bytes),
        refusal=JournalRefusal(out.refusal),
        text=ffi.string(out.text).decode("ascii", "replace"),
        errno_code=-code,
    )
