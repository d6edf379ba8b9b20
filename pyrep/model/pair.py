"""Pairs: statuses, and the row that each side keeps in its copy management table (Fig. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pyrep.errors import InvalidArgumentError
from pyrep.model.ids import GroupId, PairId, SystemId, VolumeId, check_key
from pyrep.model.lineage import UNNAMED, Lineage
from pyrep.model.units import CHUNK_BYTES_DEFAULT

__all__ = [
    "AckPoint",
    "Congestion",
    "CopyType",
    "Direction",
    "FenceLevel",
    "PairStatus",
    "Primary",
    "Protect",
    "Row",
    "SplitCause",
]

DATA_ID_END = 1 << 64
"""Data identifiers are unsigned 64-bit numbers, as in the bitmap file's header."""


class PairStatus(StrEnum):
    """Mirror status 350. A volume that is in no pair is SIMPLEX: it has no row."""

    SIMPLEX = "SIMPLEX"
    COPY = "COPY"
    DUPLEX = "DUPLEX"
    SPLIT = "SPLIT"


class SplitCause(StrEnum):
    """Why a pair is SPLIT."""

    REQUESTED = "requested"
    PATH_LOST = "path_lost"
    CONGESTED = "congested"
    DEVICE_ERROR = "device_error"
    PROTECT = "protect"
    UNCLEAN = "unclean"
    REPAIR = "repair"
    SPLIT_BRAIN = "split_brain"

    @property
    def is_error(self) -> bool:
        """Whether something went wrong, rather than somebody or a workflow asking for the split."""
        return self not in {SplitCause.REQUESTED, SplitCause.PROTECT}

    @property
    def resumes_by_itself(self) -> bool:
        """Whether the system may resync forward unasked (never what was wished or is broken)."""
        return self in {
            SplitCause.PATH_LOST,
            SplitCause.CONGESTED,
            SplitCause.UNCLEAN,
            SplitCause.REPAIR,
        }


class Direction(StrEnum):
    """Which way a pair copies: forward from its PVOL to its SVOL, or back."""

    FORWARD = "forward"
    REVERSE = "reverse"


class CopyType(StrEnum):
    """Copy type 310, in the patent's words."""

    REMOTE = "Remote Copy"
    LOCAL = "Local Copy"


class AckPoint(StrEnum):
    """When a write to a remote pair is acknowledged.

    QUEUED is asynchronous: its record stands in the queue, in order. RECEIVED and DURABLE are
    synchronous: the peer has applied it, or has it on stable storage.
    """

    QUEUED = "queued"
    RECEIVED = "received"
    DURABLE = "durable"


class Congestion(StrEnum):
    """What a write does that finds no room in its group's queue.

    BLOCK waits, at most `Options.ack_timeout_s`; then the path counts as lost. PULL_AHEAD goes on
    marked: all pairs of the group leave the queue at that point, and resync by themselves when it
    has drained.
    """

    BLOCK = "block"
    PULL_AHEAD = "pull-ahead"


class FenceLevel(StrEnum):
    """What becomes of a host's write while its remote mirror can't be reached.

    NEVER lets it go on, marked. DATA fails it, so that no write is acknowledged that the secondary
    doesn't have.
    """

    NEVER = "never"
    DATA = "data"


class Protect(StrEnum):
    """What a copy into a consistent volume does first with that volume's DUPLEX local mirrors.

    REQUIRE splits them as one generation, and doesn't begin if that fails. TRY begins all the same,
    with a warning that says whether a complete generation exists. OFF lets them follow.
    """

    REQUIRE = "require"
    TRY = "try"
    OFF = "off"


class Primary(StrEnum):
    """Primary 340: YES in the row of a pair's PVOL, NO in its SVOL's."""

    YES = "YES"
    NO = "NO"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One side of one pair: a row of a system's copy management table 300 (Fig. 3).

    The pending bitmap 360 isn't here: it is the file named by `row_key`. Change a row with
    `dataclasses.replace`; a status and its cause change together.

    Attributes:
        pair_id: the pair; its other side's row has the same.
        copy_type: 310.
        volume_id: this side's volume; rows are kept per volume.
        pair_system_id: 320, the system that has the paired volume (this one for a local pair).
        mirror_volume_id: 330, the paired volume's id in that system.
        primary: 340, whether this side's volume is the PVOL.
        status: 350; never SIMPLEX, which is the absence of a row.
        row_key: 16 random bytes that name this row's bitmap file.
        cause: why it is SPLIT; None in any other status.
        direction: of the copy that runs or last ran.
        target_consistent: whether the volume that `direction` copies into holds a content that its
            source once had.
        group_id: the consistency group; remote pairs only.
        ack: when a write is acknowledged; remote pairs only.
        chunk_bytes: bytes of one bit of the pending bitmap, the same on both sides.
        data_id: identifier in the bitmap file's header at the last clean close; 0 = fresh.
        epoch_start: in a split local pair's source row, the first epoch of the source volume's
            marks that belongs to it; 0 = none.
        pending_union: whether this side's bitmap holds the union that a running copy works off.
        repaired: a repair has split it, and no copy has begun since: none begins by itself.
        congestion: what a write does that finds no room in the queue; remote pairs.
        fence_level: what it does while the mirror can't be reached; remote pairs.
        protect: what becomes of the target's local mirrors before a copy; of a remote pair, the
            primary's row counts.
        overmarked: whether more may be pending than differs, until it is DUPLEX: this side ended
            unclean, or everything was made pending for an old copy. Remote pairs only.
        lineage: the data identifiers; remote pairs only.

    Raises:
        InvalidArgumentError: the columns contradict each other.
    """

    pair_id: PairId
    copy_type: CopyType
    volume_id: VolumeId
    pair_system_id: SystemId
    mirror_volume_id: VolumeId
    primary: Primary
    status: PairStatus
    row_key: bytes
    cause: SplitCause | None = None
    direction: Direction = Direction.FORWARD
    target_consistent: bool = False
    group_id: GroupId | None = None
    ack: AckPoint | None = None
    chunk_bytes: int = CHUNK_BYTES_DEFAULT
    data_id: int = 0
    epoch_start: int = 0
    pending_union: bool = False
    congestion: Congestion = Congestion.BLOCK
    fence_level: FenceLevel = FenceLevel.NEVER
    protect: Protect = Protect.REQUIRE
    overmarked: bool = False
    repaired: bool = False
    lineage: Lineage = UNNAMED

    def __post_init__(self) -> None:
        check_key("row", self.row_key)
        contradiction = self._contradiction()
        if contradiction:
            raise InvalidArgumentError(f"row of pair {self.pair_id}: {contradiction}")

    def _contradiction(self) -> str:
        """Return what is wrong with the columns, or nothing."""
        if self.status is PairStatus.SIMPLEX:
            return "SIMPLEX is the absence of a row"
        if (self.cause is None) == (self.status is PairStatus.SPLIT):
            return f"status {self.status} with cause {self.cause}"
        if self.is_remote in {self.group_id is None, self.ack is None}:
            return f"{self.copy_type} with group {self.group_id}, ack {self.ack}"
        plain = self.congestion is Congestion.BLOCK and self.fence_level is FenceLevel.NEVER
        if not self.is_remote and not plain:
            return "congestion policy and fence level are a remote pair's"
        fenced = self.fence_level is FenceLevel.DATA
        if fenced and (self.ack is AckPoint.QUEUED or self.congestion is Congestion.PULL_AHEAD):
            return (
                f"fence level data promises that no acknowledged write is at this side alone: not "
                f"with ack {self.ack}, congestion {self.congestion}"
            )
        if not 0 <= self.data_id < DATA_ID_END:
            return f"data_id {self.data_id} isn't an unsigned 64-bit number"
        return ""

    @property
    def is_remote(self) -> bool:
        """Whether the paired volume is another system's."""
        return self.copy_type is CopyType.REMOTE

    @property
    def is_primary(self) -> bool:
        """Whether this side's volume is the pair's PVOL."""
        return self.primary is Primary.YES

    @property
    def is_source(self) -> bool:
        """Whether `direction` copies from this side's volume."""
        return self.is_primary == (self.direction is Direction.FORWARD)
