"""Pairs of which everything is pending, copied to the end, and what crosses then."""

from __future__ import annotations

from pyrep.engine import CopyJob, Pair
from pyrep.model import (
    PairStatus,
)
from rig import KIB, LONG_S, Rig, equal

__all__ = ["BARELY", "all_pending", "resync"]

BARELY = 16 * KIB
"""Frames of a copy that has nothing to send: headers, barriers."""


def all_pending(rig: Rig, pair: Pair) -> None:
    """Split a pair, with everything pending at the primary."""
    pair.split()
    rig.a.state.mirror(pair.pair_id).mark_all()


def resync(rig: Rig, pair: Pair, **options: object) -> tuple[CopyJob, int]:
    """Resync to the end; return the job, and how many bytes of frames crossed."""
    before = rig.path.frame_bytes
    job = pair.resync(**options)  # type: ignore[arg-type]
    assert job is not None
    job.wait(LONG_S)
    assert pair.status().status is PairStatus.DUPLEX
    assert equal(rig.pvol, rig.spvol)
    return job, rig.path.frame_bytes - before
