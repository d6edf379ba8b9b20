"""Options of a storage system: what opening may assume, and the engine's numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pyrep._core import Io
from pyrep.errors import InvalidArgumentError
from pyrep.model.copyrate import CopyRate, check_copy_workers
from pyrep.model.digest import Compare, DigestKind
from pyrep.model.ids import SystemId, VolumeId
from pyrep.model.units import MIB
from pyrep.seams import HostAgent

__all__ = ["BadBitmap", "ChangedBacking", "Digests", "Options"]


class ChangedBacking(StrEnum):
    """What to do at open when a backing file isn't as it was at the last clean close."""

    REFUSE = "refuse"
    ASSUME_UNCHANGED = "assume_unchanged"
    ALL_PENDING = "all_pending"


class BadBitmap(StrEnum):
    """What to do at open when a bitmap file can't be used."""

    REFUSE = "refuse"
    ALL_PENDING = "all_pending"


class Digests(StrEnum):
    """When digests of generations are computed: of backups by itself, or only when asked for."""

    AFTER_BACKUP = "after_backup"
    WHEN_ASKED = "when_asked"


_LEAST = {
    "ack_timeout_s": 0,
    "queue_bytes": 4 << 20,
    "copy_wait_s": 0,
    "hold_max_ms": 0,
    "digest_rate_bytes_s": 0,
    "converge_window_s": 0,
    "converge_share": 0,
    "ageing_s": 0,
    "hot_regions": 16,
}


_MOST = {
    "ack_timeout_s": 1e6,
    "queue_bytes": 64 << 30,
    "copy_wait_s": 1e6,
    "hold_max_ms": 1e6,
    "digest_rate_bytes_s": (1 << 63) - 1,
    "converge_window_s": 1e6,
    "ageing_s": 1e6,
}
"""What the core's clocks and sizes can count in, by far; an infinite wait is a mistake."""

_HOT_REGIONS_MOST = 65535
_REGION_SIZES = [MIB << shift for shift in range(7)]


def _plain(_volume_id: VolumeId, io: Io) -> Io:
    return io


def _plain_log(_path: Path, io: Io) -> Io:
    return io


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Numbers and seams of one open system.

    Attributes:
        changed_backing: see `ChangedBacking`.
        bad_bitmap: see `BadBitmap`.
        ack_timeout_s: a synchronous write never waits longer for its mirror; then the path counts
            as lost.
        queue_bytes: room for records not yet received, per stream; at least 4 MiB.
        copy_wait_s: how long a command waits for local copies out of a volume that it is about to
            copy into; then it is refused.
        hold_max_ms: longest hold of a backup (420 to 470).
        digests: see `Digests`.
        digest_rate_bytes_s: most that is read for digests in the background; 0: no limit.
        copy_rate: bounds of every copy that this system leads, unless a command names others.
        copy_workers: threads of a local copy; one to a remote volume does with one.
        compare: whether copies to another system compare digests first, unless a command says.
        compare_by: the digests that they compare by when `compare` is AUTO.
        converge_window_s: for how long it is looked at whether a copy to a remote volume comes to
            its end.
        converge_share: of that time, the share in which hosts found the queue full from which on
            the pair doesn't converge: `PairState.converges`, and a warning in the log.
        ageing_s: a copy of a running system, put back, is told if it was made so many seconds or
            longer before that system was lost (docs/identifiers.md); each time that has passed, the
            tables of both ends of a path with pairs that were written to are. 0: never, and none.
        targets: onto which of this system's volumes each other system may create pairs; one that
            isn't named may create none. None: every system onto every volume that its rows allow.
            Pairs that exist aren't concerned.
        host_agents: what runs on the hosts, per volume of this system.
        hot_regions: regions of each volume that take writes without a durable one first, 16 to
            65535; after a crash at most these are pending beside what was.
        region_bytes: a region's size, a power of two from 1 MiB to 64 MiB. A log of another shape
            is taken over at open, after what it holds was recovered.
        bitmap_storage: puts something between a bitmap file and its bytes: a test's double.
        log_storage: puts something between an activity log and its file: a test's double.
        storage: puts something between a volume and its file: a test's double.
    """

    changed_backing: ChangedBacking = ChangedBacking.REFUSE
    bad_bitmap: BadBitmap = BadBitmap.REFUSE
    ack_timeout_s: float = 12.0
    queue_bytes: int = 64 << 20
    copy_wait_s: float = 600.0
    hold_max_ms: float = 500.0
    copy_rate: CopyRate = field(default_factory=CopyRate)
    copy_workers: int = 2
    compare: Compare = Compare.AUTO
    compare_by: DigestKind = DigestKind.XXH3
    converge_window_s: float = 10.0
    converge_share: float = 0.5
    ageing_s: float = 60.0
    digests: Digests = Digests.AFTER_BACKUP
    digest_rate_bytes_s: int = 0
    targets: Mapping[SystemId, Collection[VolumeId]] | None = None
    host_agents: dict[VolumeId, HostAgent] = field(default_factory=dict)
    hot_regions: int = 1237
    region_bytes: int = 4 << 20
    bitmap_storage: Callable[[Path, Io], Io] | None = None
    log_storage: Callable[[Path, Io], Io] = _plain_log
    storage: Callable[[VolumeId, Io], Io] = _plain

    def __post_init__(self) -> None:
        check_copy_workers(self.copy_workers)
        if self.hot_regions > _HOT_REGIONS_MOST:
            raise InvalidArgumentError(
                f"the option hot_regions can't be {self.hot_regions}", hint="at most 65535"
            )
        if self.region_bytes not in _REGION_SIZES:
            raise InvalidArgumentError(
                f"the option region_bytes can't be {self.region_bytes!r}",
                hint="a power of two from 1 MiB (1048576) to 64 MiB",
            )
        for name, at_least in _LEAST.items():
            asked: object = getattr(self, name)
            # Not a number, or NaN, which is at least nothing.
            if not isinstance(asked, (int, float)) or not asked >= at_least:
                raise InvalidArgumentError(
                    f"the option {name} can't be {asked!r}", hint=f"a number, at least {at_least}"
                )
            if asked > _MOST.get(name, asked):
                raise InvalidArgumentError(
                    f"the option {name} can't be {asked!r}", hint=f"at most {_MOST[name]:g}"
                )
