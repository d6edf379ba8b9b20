"""Local pairs: create and dissolve (Fig. 1, local mirror 140b)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyrep._core import LinkCore
from pyrep.engine.activity import keep_row
from pyrep.engine.decide import Judge
from pyrep.engine.generations import Generations
from pyrep.engine.local_breaks import LocalBreaks
from pyrep.engine.local_copies import LocalCopies
from pyrep.engine.local_splits import LocalSplits
from pyrep.engine.mirror import Mirror
from pyrep.engine.state import SystemState
from pyrep.model import (
    CopyType,
    PairId,
    PairStatus,
    Primary,
    Row,
    VolumeId,
    WorkflowId,
    make_pair_id,
    new_key,
)
from pyrep.model.situation import Command, Force

__all__ = ["LocalPairs"]


class LocalPairs:
    """Commands on local pairs. Each holds the pair's operation while it runs.

    Attributes:
        breaks: links that broke.
        splits: splits and their generations.
        copies: resyncs.
    """

    def __init__(self, state: SystemState, generations: Generations, judge: Judge) -> None:
        self._state = state
        self._generations = generations
        self._judge = judge
        self.breaks = LocalBreaks(state)
        self.splits = LocalSplits(state, generations, judge, self.breaks)
        self.copies = LocalCopies(state, generations, judge, self.breaks, self.splits)

    def create(self, pvol: VolumeId, svol: VolumeId, *, chunk_bytes: int) -> PairId:
        """Make a local pair and begin its initial copy.

        Raises:
            RefusedError, InvalidArgumentError, NotFoundError: nothing has changed.
        """
        state = self._state
        with state.control:
            state.check_open()
            self._judge.check_create_local(pvol, svol, chunk_bytes)
            state.check_leases(f"create a local pair {pvol} → {svol}", [pvol, svol], None)
            pair_id = make_pair_id(state.system_id, state.table.next_pair_number())
        with state.operation("create", [pair_id]):
            source, target = self._create_rows(pair_id, pvol, svol, chunk_bytes)
            self.copies.begin(source, target)
        return pair_id

    def _create_rows(
        self, pair_id: PairId, pvol: VolumeId, svol: VolumeId, chunk_bytes: int
    ) -> tuple[Mirror, Mirror]:
        """Make both rows durable and live, in one tree."""
        state = self._state
        with state.control:
            self._judge.check_create_local(pvol, svol, chunk_bytes)
            rows = self._new_rows(pair_id, pvol, svol, chunk_bytes)
            source, target = self._open_mirrors(rows)
            try:
                for one in (source, target):
                    keep_row(state, one)
                with state.db.transaction():
                    for row in rows:
                        state.table.insert(row)
            except BaseException:
                for one in (source, target):
                    one.close()
                    state.store.remove(one.row.row_key)
                raise
            for one in (source, target):
                state.mirrors[one.key] = one
            state.trees.join(state.volume(pvol).core, state.volume(svol).core)
            state.refence({pvol, svol})
        return source, target

    def _new_rows(
        self, pair_id: PairId, pvol: VolumeId, svol: VolumeId, chunk_bytes: int
    ) -> tuple[Row, Row]:
        source = Row(
            pair_id=pair_id,
            copy_type=CopyType.LOCAL,
            volume_id=pvol,
            pair_system_id=self._state.system_id,
            mirror_volume_id=svol,
            primary=Primary.YES,
            status=PairStatus.COPY,
            row_key=new_key(),
            chunk_bytes=chunk_bytes,
            pending_union=True,
        )
        target = replace(
            source,
            volume_id=svol,
            mirror_volume_id=pvol,
            primary=Primary.NO,
            row_key=new_key(),
            pending_union=False,
        )
        return source, target

    def _open_mirrors(self, rows: Sequence[Row]) -> list[Mirror]:
        state = self._state
        made: list[Mirror] = []
        try:
            for row in rows:
                live = state.volume(row.volume_id)
                link = LinkCore(live.core, chunk_bytes=row.chunk_bytes, shares_marks=row.is_primary)
                try:
                    file = state.store.create(row, live.record.key, live.record.size_bytes)
                except BaseException:
                    link.close()
                    raise
                made.append(Mirror(row, link, file))
        except BaseException:
            for one in made:
                one.close()
                state.store.remove(one.row.row_key)
            raise
        return made

    def dissolve(
        self, pair_id: PairId, *, lease: WorkflowId | None = None, force: Force | None = None
    ) -> None:
        """End the pair: both volumes go on by themselves, with what they hold.

        Raises:
            RefusedError: the matrix, or its generation is pinned or protected.
        """
        state = self._state
        self.breaks.refresh()
        with state.operation("dissolve", [pair_id], lease=lease):
            pvol, svol = state.sides(pair_id)
            self._judge.local(Command.DISSOLVE, pvol, svol, force=force)
            with state.control:
                generation = self._generations.check_may_give_up(
                    svol.row.volume_id, f"dissolve pair {pair_id}"
                )
                with state.db.transaction():
                    self._generations.give_up(generation, svol.row.volume_id)
                    for one in (pvol, svol):
                        state.table.remove(*one.key)
                for one in (pvol, svol):
                    del state.mirrors[one.key]
                    one.close()
                    state.store.remove(one.row.row_key)
                state.trees.part([state.volume(svol.row.volume_id).core])
                state.refence({pvol.row.volume_id, svol.row.volume_id})
