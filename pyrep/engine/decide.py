"""The judge: puts a pair's situation together and asks the matrix (model.transitions)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pyrep.engine.mirror import Mirror
from pyrep.engine.state import SystemState
from pyrep.errors import InvalidArgumentError, RefusedError
from pyrep.model import (
    CopyType,
    Direction,
    GenerationId,
    PairStatus,
    Row,
    SystemId,
    VolumeId,
    check_chunk_bytes,
)
from pyrep.model.roles import VolumeRef, check_roles
from pyrep.model.situation import Command, Decision, Force, Outcome, RemoteView, Situation
from pyrep.model.transitions import decide, makes_generation

__all__ = ["Judge", "name_of"]


def name_of(row: Row, system_id: SystemId) -> str:
    """Return a pair as messages name it: `pair 7 (100a:105a → 100b:105b)`."""
    here, there = (
        VolumeRef(system_id, row.volume_id),
        VolumeRef(row.pair_system_id, row.mirror_volume_id),
    )
    pvol, svol = (here, there) if row.is_primary else (there, here)
    return f"pair {row.pair_id} ({pvol} → {svol})"


def _copies_back(row: Row) -> bool:
    return row.status is PairStatus.COPY and row.direction is Direction.REVERSE


def _copies_forward(row: Row) -> bool:
    return row.status is PairStatus.COPY and row.direction is Direction.FORWARD


def _view(row: Row | None) -> RemoteView | None:
    if row is None:
        return None
    return RemoteView(status=row.status, direction=row.direction, consistent=row.target_consistent)


class Judge:
    """Answers whether a command may be performed: True, False (it is so already), or raises."""

    def __init__(self, state: SystemState) -> None:
        self._state = state

    def local(
        self, command: Command, pvol: Mirror, svol: Mirror, *, force: Force | None = None
    ) -> bool:
        """Decide a command on a local pair. RefusedError: with reason and hint."""
        return self._rule(command, pvol.row, self.local_situation(pvol.row, svol.row), force)

    def local_makes_generation(self, pvol: Mirror, svol: Mirror) -> bool:
        """Whether a split of this local pair makes a generation (INV-4)."""
        return makes_generation(self.local_situation(pvol.row, svol.row))

    def remote(self, command: Command, mirror: Mirror, *, force: Force | None = None) -> bool:
        """Decide a command on a remote pair, by this system's row and its neighbours."""
        return self._rule(command, mirror.row, self._remote_situation(mirror.row), force)

    def abandoned_copy(self, mirror: Mirror, *, force: Force | None = None) -> None:
        """Decide the end of a copy, seen from the SVOL, whose primary is gone for good.

        Of a copy forward the SVOL here stays half-way; a PVOL that was copied back to is gone.

        Raises:
            RefusedError: `force` doesn't accept that.
        """
        row = mirror.row
        situation = replace(self._remote_situation(row), status=PairStatus.SPLIT)
        if row.direction is Direction.REVERSE:
            situation = replace(situation, target_consistent=True)
        elif force is None:
            raise RefusedError(
                f"cannot dissolve {name_of(row, self._state.system_id)} without its primary: its "
                f"copy has left volume {row.volume_id} half-way",
                hint="accept that by pair.dissolve(without_peer=True, "
                "force=Force.INCONSISTENT_LEFT), and copy a local mirror's generation back to it",
            )
        self._rule(Command.DISSOLVE, row, situation, force)

    def local_situation(self, pvol: Row, svol: Row) -> Situation:
        """Return all that the matrix wants to know of a local pair."""
        others = self._others(pvol)
        remote = next((row for row in others if row.is_remote and not row.is_primary), None)
        as_pvol = _of_pvol(others)
        held = self._state.held_generation(svol.volume_id)
        pins = self._state.catalogue.get(GenerationId(held)).pins if held else ()
        return Situation(
            copy_type=CopyType.LOCAL,
            status=pvol.status,
            direction=pvol.direction,
            cause=pvol.cause,
            target_consistent=pvol.target_consistent,
            remote=_view(remote),
            sibling_reverse=any(_copies_back(row) and row.is_primary for row in others),
            sibling_copying=any(_copies_forward(row) and not row.is_remote for row in others),
            source_consistent=not _any_half_way_back(others),
            target_remote=_view(as_pvol),
            svol_pins=pins,
        )

    def _remote_situation(self, row: Row) -> Situation:
        others = self._others(row)
        return Situation(
            copy_type=CopyType.REMOTE,
            status=row.status,
            direction=row.direction,
            cause=row.cause,
            target_consistent=row.target_consistent,
            sibling_reverse=any(_copies_back(one) and one.is_primary for one in others),
            source_consistent=not _any_half_way_back(others),
        )

    def is_consistent(self, volume_id: VolumeId) -> bool:
        """Whether a volume's content is whole, as far as the copies into it tell."""
        rows = [one.row for one in self._state.mirrors_of(volume_id)]
        remote = next((row for row in rows if row.is_remote and not row.is_primary), None)
        view = _view(remote)
        return (view is None or view.spvol_consistent) and not _any_half_way_back(rows)

    def check_copy_out(self, volume_id: VolumeId, doing: str) -> None:
        """Raise RefusedError while a local pair's copy back has the volume half-way (550, 670)."""
        if _any_half_way_back(one.row for one in self._state.local_svol_mirrors(volume_id)):
            raise RefusedError(
                f"{doing}: a local pair's copy back into it runs, or was broken off",
                hint="end that copy first: pair.resync(direction=Direction.REVERSE)",
            )

    def _others(self, row: Row) -> list[Row]:
        mirrors = self._state.mirrors_of(row.volume_id)
        return [one.row for one in mirrors if one.row.pair_id != row.pair_id]

    def _rule(self, command: Command, row: Row, situation: Situation, force: Force | None) -> bool:
        pair = name_of(row, self._state.system_id)
        if force is not None and not force.accepts(command):
            raise InvalidArgumentError(f"cannot {command} {pair}: force={force} says nothing of it")
        decision = decide(command, replace(situation, forced=force is not None))
        return _answer(decision, f"cannot {command} {pair}")

    # --- new pairs -------------------------------------------------------------------------------

    def check_create_local(self, pvol: VolumeId, svol: VolumeId, chunk_bytes: int) -> None:
        """Raise unless the two volumes may become a local pair."""
        state = self._state
        name = f"cannot create a local pair {pvol} → {svol}"
        source, target = state.volume(pvol).record, state.volume(svol).record
        check_same_size(name, source.size_bytes, target.size_bytes)
        check_chunk_bytes(source.size_bytes, chunk_bytes)
        here = state.system_id
        self.check_roles(
            name,
            CopyType.LOCAL,
            VolumeRef(here, pvol),
            VolumeRef(here, svol),
        )
        for one in state.local_svol_mirrors(pvol):
            if one.row.mirror_volume_id == svol:
                raise RefusedError(
                    f"{name}: these volumes are pair {one.row.pair_id} already",
                    hint=f"use pair {one.row.pair_id}",
                )
            if one.row.chunk_bytes != chunk_bytes:
                raise InvalidArgumentError(
                    f"{name}: its chunks would be of {chunk_bytes} bytes, those of its sibling "
                    f"{one.row.pair_id} are of {one.row.chunk_bytes}",
                    hint="local pairs of one volume share their marks: use the sibling's chunks",
                )
        others = [one.row for one in state.mirrors_of(pvol)]
        remote = next((row for row in others if row.is_remote and not row.is_primary), None)
        situation = Situation(
            copy_type=CopyType.LOCAL,
            status=PairStatus.SIMPLEX,
            remote=_view(remote),
            sibling_reverse=any(_copies_back(row) and row.is_primary for row in others),
            source_consistent=not _any_half_way_back(others),
        )
        _answer(decide(Command.CREATE, situation), name)

    def check_create_remote(
        self, name: str, volume_id: VolumeId, pvol: VolumeRef, svol: VolumeRef, chunk_bytes: int
    ) -> None:
        """Raise unless the two volumes may become a remote pair, as far as this system knows."""
        state = self._state
        check_chunk_bytes(state.volume(volume_id).record.size_bytes, chunk_bytes)
        self.check_roles(name, CopyType.REMOTE, pvol, svol)
        others = [one.row for one in state.mirrors_of(volume_id)]
        for row in others:
            if row.is_remote and row.is_primary:
                raise RefusedError(
                    f"{name}: volume {volume_id} is the PVOL of pair {row.pair_id} already",
                    hint=f"dissolve pair {row.pair_id} first",
                )
        situation = Situation(
            copy_type=CopyType.REMOTE,
            status=PairStatus.SIMPLEX,
            sibling_reverse=any(_copies_back(row) for row in others),
            sibling_copying=svol.system_id == state.system_id
            and any(_copies_forward(row) for row in others),
        )
        _answer(decide(Command.CREATE, situation), name)

    def check_roles(self, name: str, copy_type: CopyType, pvol: VolumeRef, svol: VolumeRef) -> None:
        """Raise unless the two volumes' other pairs leave room for this one."""
        rows: Iterable[Row] = [one.row for one in self._state.mirrors.values()]
        decision = check_roles(
            rows, system_id=self._state.system_id, copy_type=copy_type, pvol=pvol, svol=svol
        )
        _answer(decision, name)


def _of_pvol(rows: Iterable[Row]) -> Row | None:
    return next((row for row in rows if row.is_remote and row.is_primary), None)


def _any_half_way_back(rows: Iterable[Row]) -> bool:
    """Whether a copy back into the PVOL of one of these rows runs, or was broken off."""
    return any(
        row.is_primary and row.direction is Direction.REVERSE and not row.target_consistent
        for row in rows
    )


def _answer(decision: Decision, what: str) -> bool:
    if decision.outcome is Outcome.REFUSED:
        raise RefusedError(f"{what}: {decision.reason}", hint=decision.hint or None)
    return decision.outcome is Outcome.DONE


def check_same_size(name: str, pvol_bytes: int, svol_bytes: int) -> None:
    """Raise unless both volumes have one size, in bytes."""
    if pvol_bytes != svol_bytes:
        raise InvalidArgumentError(
            f"{name}: their sizes differ, {pvol_bytes} and {svol_bytes} bytes",
            hint="create the SVOL with the PVOL's size",
        )
