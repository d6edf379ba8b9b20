"""Recovery of a file system that was taken while it was mounted: its journal is replayed."""

from __future__ import annotations

import logging

from pyrep._core import Io, JournalRefusal, JournalReport, replay_journal
from pyrep.errors import DamagedFileSystemError, DeviceError, NeedsRecoveryError

__all__ = ["recover"]

_log = logging.getLogger(__name__)


def recover(io: Io, name: str) -> JournalReport | None:
    """Replay the journal of an ext3 or ext4 file system, if it needs recovery.

    It writes to `io`: give a generation or a live volume as a copy-on-write view (INV-4), 105b
    itself through the tracked volume (530). May be called again after any failure. What a mount
    does beyond the journal is left undone: files that were deleted while open stay on their list.

    Args:
        io: storage that holds the file system alone; of a partitioned volume, the partition.
        name: of the volume, for messages.

    Returns:
        What was done, or None: there was nothing to do, or it is no ext file system.

    Raises:
        NeedsRecoveryError: a feature isn't handled, which is named (fast commits, a journal on
            another device); nothing was written.
        DamagedFileSystemError: the journal contradicts itself; nothing was written.
        DeviceError: the storage failed.
    """
    report = replay_journal(io)
    match report.refusal:
        case JournalRefusal.UNSUPPORTED:
            raise NeedsRecoveryError(
                f"the file system in {name} needs recovery, which isn't handled: {report.text}",
                hint="unmount or freeze it (fsfreeze) at its host before the backup; or restore the"
                " whole volume, its next mount recovers it",
            )
        case JournalRefusal.DAMAGED:
            raise DamagedFileSystemError(
                f"the file system in {name} needs recovery, which failed: {report.text}",
                hint="check it with e2fsck -fn; another generation may be sound",
            )
        case JournalRefusal.UNREADABLE:
            raise DeviceError(
                f"cannot recover the file system in {name}: {report.text}",
                errno_code=report.errno_code,
                hint="is it the disk? the kernel's log (dmesg) tells; another generation may "
                "be sound",
            )
        case JournalRefusal.NONE:
            pass
    if not report.recovered:
        return None
    _log.info(
        "fs.recovered in=%s transactions=%d blocks=%d bytes=%d revoked=%d from=%d",
        name,
        report.transactions,
        report.blocks,
        report.blocks * report.block_bytes,
        report.revoked,
        report.first_sequence,
    )
    if report.failed:
        _log.warning(
            "fs.recovered in=%s with errors: transaction=%d is damaged, or the journal had noted "
            "an error",
            name,
            report.failed_sequence,
        )
    return report
