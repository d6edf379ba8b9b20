"""What a restore is about: which generation goes to which volume, and whether it can (500, 610).

Nothing here changes anything.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Any

from pyrep._core import Bitmap, Io, OverlayIo
from pyrep.engine import Cancel, StorageSystem
from pyrep.engine.mirror import Mirror
from pyrep.errors import (
    DamagedFileSystemError,
    FileSystemError,
    NoSpaceError,
    PathNotInFileSystemError,
    RefusedError,
)
from pyrep.fs import Selection, find_partition, plan_restore
from pyrep.model import (
    CHUNK_BYTES_DEFAULT,
    Direction,
    Generation,
    GenerationId,
    GenerationMember,
    PairStatus,
    VolumeId,
    WorkflowKind,
)
from pyrep.workflows.estimate import (
    Estimate,
    bytes_of,
    check_selection,
    estimate_files,
    in_chunks,
    open_view,
    provisional_whole,
)
from pyrep.workflows.restore_request import RestoreRequest

__all__ = ["RestoreSubject"]

_log = logging.getLogger(__name__)


class RestoreSubject:
    """The generation, the volume, the mirrors between, and the files chosen.

    Raises:
        NotFoundError: there is no such generation, or it doesn't have the volume.
        RefusedError: another system holds it, or the mirror it came through is gone.
    """

    def __init__(self, system: StorageSystem, request: RestoreRequest) -> None:
        self._system = system
        self._state = system.state
        self.request = request
        self.generation: Generation = system.generations.get(GenerationId(request.generation))
        if self.generation.home != system.system_id:
            raise RefusedError(
                f"generation {request.generation} is held by system {self.generation.home}",
                hint="ask that system, or any system that is connected to it",
            )
        self.member: GenerationMember = system.generations.member(
            self.generation, VolumeId(request.volume)
        )
        self.remote: Mirror | None = self._state.remote_mirror(self.member.source)
        if self.remote is None and request.volume != self.member.source:
            raise RefusedError(
                f"cannot restore to {self.member.origin_system}:{self.member.origin_volume}: "
                f"volume {self.member.source} is in no remote pair with it any more",
                hint=f"create the remote pair, or restore to volume {self.member.source} itself",
            )
        self.selection = Selection(request.paths) if request.paths else None

    # --- refusals, before anything is touched ----------------------------------------------------

    def check(self) -> None:
        """Refuse what can't work, before anything is touched.

        Raises:
            RefusedError: the generation isn't complete, or the mirror isn't in a state to restore.
            PathNotInFileSystemError, FileSystemError: the selection or the generation.
        """
        if not self.generation.is_complete:
            raise RefusedError(
                f"cannot restore from generation {self.generation.generation_id}: it is "
                f"{self.generation.state}",
                hint="choose a complete generation",
            )
        if self.selection is not None:
            with self.view() as view:
                self._check_partition(view)
                with open_view(view, self.names[0], partition=self.partition) as source:
                    check_selection(source, self.selection)

    def _check_partition(self, view: Io) -> None:
        """Refuse when the partition has moved since: another file system may be in its place."""
        if self.partition is None:
            return
        then = find_partition(view, self.partition)
        now = find_partition(self.live(), self.partition)
        if (then.offset, then.length, then.uuid) != (now.offset, now.length, now.uuid):
            raise RefusedError(
                f"cannot restore files of partition {self.partition}: volume "
                f"{self.member.source} was partitioned anew since the generation was taken",
                hint="restore the whole volume by name (whole=True)",
            )

    def check_copies(self, kind: WorkflowKind, facts: dict[str, Any]) -> None:
        """Refuse copies that 640 or 660 would find ruled out, while everything still runs."""
        for one in self._state.local_svol_mirrors(self.member.source):
            row = one.row
            half_way = row.direction is Direction.REVERSE and not row.target_consistent
            if half_way and row.pair_id != self.member.pair_id:
                raise RefusedError(
                    f"cannot restore: a copy back of local pair {row.pair_id} was broken off, "
                    f"volume {self.member.source} is inconsistent",
                    hint="let it go on first: pair.resync(direction=Direction.REVERSE)",
                )
        if self.remote is None:
            shipping = next(
                (
                    one.row
                    for one in self._state.mirrors_of(self.member.source)
                    if one.row.is_remote and one.row.status is not PairStatus.SPLIT
                ),
                None,
            )
            if kind is WorkflowKind.RESTORE_VOLUME and shipping is not None:
                raise RefusedError(
                    f"cannot restore volume {self.member.source}: it is the PVOL of remote pair "
                    f"{shipping.pair_id}, which is {shipping.status}",
                    hint="split the remote pair first, and resync it forward afterwards",
                )
            return
        pair_id = self.remote.row.pair_id
        if facts["status"] == PairStatus.COPY:
            raise RefusedError(
                f"cannot restore: remote pair {pair_id} is copying",
                hint="wait until it is DUPLEX",
            )
        if facts["broken_off"]:
            raise RefusedError(
                f"cannot restore: the copy of local pair {facts['broken_off']} of volume "
                f"{self.member.origin_system}:{self.member.origin_volume} was broken off",
                hint="let it go on first: pair.resync(direction=...); or stop it: pair.split()",
            )
        if facts["apart"]:  # 550 or 670 would find out, with hosts stopped and the SPVOL written
            raise RefusedError(
                f"cannot restore: remote pair {pair_id} can't be copied back by its bits: "
                f"{facts['apart']}",
                hint=f'resync it first, naming the side to give up: pair.resync(discard="...") at '
                f"{self.member.origin_system}",
            )
        if not self.remote.row.target_consistent:
            raise RefusedError(
                f"cannot restore: a copy of remote pair {pair_id} was broken off, volume "
                f"{self.member.source} is inconsistent",
                hint="resync the pair forward first",
            )

    def check_nothing_pending(self, status: str, pending: int) -> None:
        """Refuse while 105a's row has pending bits: acknowledged writes would go back in time.

        Unless the caller, who was told whose they are, discards them by name.
        """
        stands = status in {PairStatus.DUPLEX, PairStatus.SPLIT}
        if self.remote is None or (stands and not pending):
            return
        if status == PairStatus.SPLIT and self.request.discard_pending:
            return
        volume = f"{self.member.origin_system}:{self.member.origin_volume}"
        raise RefusedError(
            f"cannot restore files into {volume}: its remote pair {self.remote.row.pair_id} is "
            f"{status} with {pending} chunks pending, which would go back in time: "
            f"{self._touched(self.remote)}",
            hint="resync the pair forward first, restore the whole volume by name (whole=True), or "
            "let them go back in time by name (discard_pending=True)",
        )

    def _touched(self, remote: Mirror) -> str:
        """Return, in words, which files of 105a have pending chunks, or which bytes."""
        asked = {"pair": remote.row.pair_id}
        facts = self._system.ask(remote.row.pair_system_id, "restore.touched", asked)
        if facts["paths"]:
            paths = [bytes.fromhex(one).decode(errors="backslashreplace") for one in facts["paths"]]
            named, unit = [f"/{path.lstrip('/')}" for path in paths], "files"
        else:
            named = [f"{first}…{first + length}" for first, length in facts["extents"]]
            unit = "bytes"
        more = facts["count"] - len(named)
        return f"{unit} {', '.join(named)}{f' and {more} more' if more > 0 else ''}"

    def check_room(self, cancel: Cancel | None) -> None:
        """Plan once while everything still runs: no room and bad paths are found here."""
        if self.selection is None:
            return
        try:
            with (
                self.view() as view,
                open_view(view, self.names[0], partition=self.partition) as source,
                OverlayIo(self.live()) as live,
                open_view(live, self.names[1], partition=self.partition) as target,
            ):
                plan_restore(
                    source,
                    target,
                    self.selection,
                    delete_extra=self.request.delete_extra,
                    cancel=cancel,
                )
        except (NoSpaceError, PathNotInFileSystemError):
            raise
        except FileSystemError as error:
            _log.info("restore.estimate the live volume can't be read yet: %s", error)

    # --- 610, and the dry run --------------------------------------------------------------------

    def decide(self) -> tuple[int | None, str]:
        """610: Fig. 6 if the whole volume is asked for or meant, else Fig. 5; None: can't tell."""
        if self.selection is None:
            return 6, "the whole volume was asked for"
        if self.partition is not None:
            return 5, "files of one partition were asked for; the volume is more than that"
        with self.view() as view:
            whole, trouble = provisional_whole(view, self.live(), self.selection, names=self.names)
        if whole is None:
            return None, f"the live volume's files can't be read: {trouble}"
        return (6 if whole.decision else 5), whole.reason

    def estimate(self, cancel: Cancel | None) -> Estimate:
        """Return what the restore would do (dry run)."""
        self.check()
        figure, reason = self.decide()
        if figure == 6:
            return self._estimate_volume(reason)
        if figure is None or self.selection is None:
            return Estimate(figure=5, reason=reason, trouble=reason)
        chunk_bytes = self.remote.row.chunk_bytes if self.remote else CHUNK_BYTES_DEFAULT
        try:
            with self.view() as view:
                found = estimate_files(
                    view,
                    self.live(),
                    self.selection,
                    names=self.names,
                    chunk_bytes=chunk_bytes,
                    delete_extra=self.request.delete_extra,
                    partition=self.partition,
                    cancel=cancel,
                )
        except DamagedFileSystemError as error:
            return Estimate(figure=5, reason=reason, trouble=str(error))  # torn while written
        cross, revert = self._crossing(found.chunks, chunk_bytes)
        return Estimate(
            figure=5,
            reason=reason,
            changes=found.plan.changes,
            write_bytes=found.write_bytes,
            cross_bytes=cross,
            revert_bytes=revert,
            is_provisional=self._is_live(),
        )

    def _estimate_volume(self, reason: str) -> Estimate:
        pvol, svol = self._state.sides(self.member.pair_id)
        local = pvol.pending()
        local.update(svol.pending())
        cross, revert = self._crossing(local, pvol.row.chunk_bytes)
        return Estimate(
            figure=6,
            reason=reason,
            write_bytes=bytes_of(local, pvol.row.chunk_bytes, self.live().size_bytes),
            cross_bytes=cross,
            revert_bytes=revert,
            is_provisional=self._is_live(),
        )

    def _crossing(self, written: Bitmap, chunk_bytes: int) -> tuple[int, int]:
        """Return the bytes of the union that 550 or 670 copies, and those of 105a's own row."""
        if self.remote is None:
            return 0, 0
        size, own_bytes = self.live().size_bytes, self.remote.row.chunk_bytes
        union = in_chunks(written, chunk_bytes, of_bytes=own_bytes, size_bytes=size)
        union.update(self.remote.link.pending)
        facts = self._system.ask(
            self.remote.row.pair_system_id,
            "restore.pending",
            {"pair": self.remote.row.pair_id},
        )
        there = Bitmap(len(union))
        there.update_roaring(bytes.fromhex(facts["pending"]))
        union.update(there)
        return bytes_of(union, own_bytes, size), bytes_of(there, own_bytes, size)

    def _is_live(self) -> bool:
        return self.remote is None or self.remote.row.status is not PairStatus.SPLIT

    # --- what it reads ---------------------------------------------------------------------------

    @property
    def partition(self) -> int | None:
        """The partition that holds the files; None: the volume itself does."""
        return self.request.partition

    def live(self) -> Io:
        """Return the volume as it is now, below the tracked path: for reading only."""
        return self._state.volume(self.member.source).io

    @property
    def names(self) -> tuple[str, str]:
        """The generation and the volume, as messages name them."""
        return f"generation {self.generation.generation_id}", f"volume {self.member.source}"

    def view(self) -> AbstractContextManager[Io]:
        """Return a copy-on-write view of the generation, pinned while it is open."""
        return self._system.generations.view(self.generation.generation_id, self.member.source)
