"""A mirror at work: one row of the table with its link and its bitmap file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from pyrep._core import Bitmap, BitmapFile, LinkCore
from pyrep.engine.convergence import Convergence
from pyrep.engine.copyjob import CopyJob
from pyrep.model import CopyPace, PairId, Row, SplitCause, VolumeId

__all__ = ["Mirror", "MirrorKey"]

MirrorKey = tuple[PairId, VolumeId]


@dataclass(slots=True)
class Mirror:
    """One side of one pair, live.

    Attributes:
        row: as it is durable in the table; changed only by `SystemState.commit`.
        link: what writes to the volume do for this pair.
        file: the pending bitmap's file: true together with the volume's activity log, unless it is
            marked open.
        job: the copy that runs out of this side, if one does.
        failed: whether the copy or the link ended because storage failed, and the row doesn't say
            so yet: the watch writes it down when the tables can be written.
        spared: whether the target is whole all the same, if it `failed`.
        stopped: whether the copy that ran last was ended by command before its end.
        pace: of the remote copy that a lost path has interrupted, for one that goes on by itself.
        convergence: of the copy that runs to a remote volume.
        pulled_ahead_count: how often it left a full queue since the system was opened.
        pulled_ahead_at: when it did last.
        savers: held by who saves the row beside commands, and by a command that needs the open
            mark to stay: a save takes it away.
    """

    row: Row
    link: LinkCore
    file: BitmapFile
    job: CopyJob | None = None
    failed: bool = False
    spared: bool = False
    stopped: bool = False
    pace: CopyPace | None = None
    convergence: Convergence | None = None
    pulled_ahead_count: int = 0
    pulled_ahead_at: datetime | None = None
    savers: threading.Lock = field(default_factory=threading.Lock)

    @property
    def key(self) -> MirrorKey:
        """The row's key."""
        return self.row.pair_id, self.row.volume_id

    @property
    def is_overmarked(self) -> bool:
        """Whether more may be pending than differs."""
        return self.row.overmarked or self.row.cause is SplitCause.UNCLEAN

    @contextmanager
    def noting_its_end(self, *, spared: bool = False) -> Iterator[None]:
        """Write down in the block that the link's work is over; what raises leaves that to be done.

        Without this a row that the tables didn't take would say DUPLEX for ever, over a link that
        only marks.
        """
        self.failed, self.spared = True, spared
        yield
        self.failed = self.spared = False

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Begin a copy in the block: it isn't stopped meanwhile, and is again if that fails."""
        before, self.stopped = self.stopped, False
        try:
            yield
        except BaseException:
            self.stopped = before
            raise

    def pending(self) -> Bitmap:
        """Return a new bitmap of all of the cover."""
        return self.link.cover()

    def mark_all(self) -> None:
        """Make every chunk pending, durably (INV-2): no region is hot for these bits.

        Filled first: a save under way, or one that begins now, would write pages without these bits
        and take the mark away again. It begins anew if the mark comes after them.
        """
        self.link.pending.fill()
        self.file.mark_open()

    def save(self) -> None:
        """Write the row's cover, so that a crash costs what is pending and hot, not everything.

        Raises:
            PyrepError: it couldn't be written; at worst the file is marked open.
        """
        self.link.save()

    def close(self) -> None:
        """Free link and file."""
        self.link.close()
        self.file.close()
