"""Roles: which two volumes may become a pair, beside the pairs there are.

The shape allowed is the one of Fig. 1: a remote pair, then local pairs from its SVOL (the SPVOL),
and local pairs from any volume that is no local SVOL. Nothing follows a local SVOL, and no remote
pair follows another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pyrep.model.ids import SystemId, VolumeId
from pyrep.model.pair import CopyType, Row
from pyrep.model.situation import Decision, done, refused

__all__ = ["VolumeRef", "check_roles"]


class VolumeRef(NamedTuple):
    """A volume among all systems'."""

    system_id: SystemId
    volume_id: VolumeId

    def __str__(self) -> str:
        return f"{self.system_id}:{self.volume_id}"


class _Edge(NamedTuple):
    copy_type: CopyType
    pvol: VolumeRef
    svol: VolumeRef
    pair_id: str


def check_roles(
    rows: Iterable[Row],
    *,
    system_id: SystemId,
    copy_type: CopyType,
    pvol: VolumeRef,
    svol: VolumeRef,
) -> Decision:
    """Return whether `pvol` and `svol` may become a pair: DONE or REFUSED.

    Each system asks this with its own rows, since each knows only its own. A pair of the same two
    volumes that exists already is left out: `decide` answers for it.

    Args:
        rows: the rows of one system.
        system_id: that system.
        copy_type: of the new pair.
        pvol: its source.
        svol: its target.
    """
    edges = [edge for edge in _edges(rows, system_id) if edge[:3] != (copy_type, pvol, svol)]
    if pvol == svol:
        return refused(f"{pvol} can't be its own mirror", "name another volume as SVOL")
    is_local = pvol.system_id == svol.system_id
    if is_local != (copy_type is CopyType.LOCAL):
        return refused(
            f"{pvol} and {svol} are in {'one system' if is_local else 'two systems'}",
            f"create a {'local' if is_local else 'remote'} pair of them",
        )
    if _reaches(edges, svol, pvol):
        return refused(f"{pvol} is a mirror of {svol} already: a cycle", "name another SVOL")
    return _check_pvol(edges, copy_type, pvol) or _check_svol(edges, copy_type, svol) or done()


def _check_pvol(edges: list[_Edge], copy_type: CopyType, pvol: VolumeRef) -> Decision | None:
    for edge in edges:
        if edge.svol != pvol:
            continue
        if edge.copy_type is CopyType.LOCAL:
            return refused(
                f"{pvol} is the SVOL of local pair {edge.pair_id}, nothing may follow it",
                f"create the pair from {edge.pvol}",
            )
        if copy_type is CopyType.REMOTE:
            return refused(
                f"{pvol} is the SVOL of remote pair {edge.pair_id}, only local pairs may follow it",
                f"create the pair from {edge.pvol}",
            )
    return None


def _check_svol(edges: list[_Edge], copy_type: CopyType, svol: VolumeRef) -> Decision | None:
    for edge in edges:
        if edge.svol == svol:
            return refused(
                f"{svol} is the SVOL of pair {edge.pair_id} already",
                f"name another SVOL, or end that pair: pair.dissolve() of {edge.pair_id}",
            )
        # Local pairs may follow the SVOL of a remote pair (it is an SPVOL then), nothing else may.
        if edge.pvol == svol and copy_type is CopyType.LOCAL:
            return refused(
                f"{svol} is the PVOL of pair {edge.pair_id}, nothing may follow a local SVOL",
                "name another SVOL",
            )
        if edge.pvol == svol and edge.copy_type is CopyType.REMOTE:
            return refused(
                f"{svol} is the PVOL of remote pair {edge.pair_id}, "
                "no remote pair may follow another",
                "name another SVOL",
            )
    return None


def _edges(rows: Iterable[Row], system_id: SystemId) -> Iterator[_Edge]:
    for row in rows:
        here = VolumeRef(system_id, row.volume_id)
        there = VolumeRef(row.pair_system_id, row.mirror_volume_id)
        pvol, svol = (here, there) if row.is_primary else (there, here)
        yield _Edge(row.copy_type, pvol, svol, row.pair_id)


def _reaches(edges: list[_Edge], start: VolumeRef, goal: VolumeRef) -> bool:
    """Whether `goal` is a mirror, of any depth, of `start`."""
    reached = {start}
    found = True
    while found:
        following = {edge.svol for edge in edges if edge.pvol in reached} - reached
        reached |= following
        found = bool(following)
    return goal in reached
