"""The desk that answers another system's questions for digests of the volumes paired with it."""

from __future__ import annotations

from pyrep._core import Runs
from pyrep.engine.datamap import data_runs
from pyrep.engine.peer import Peer
from pyrep.engine.state import SystemState
from pyrep.engine.sums import WINDOW_RUNS, Sums
from pyrep.errors import InvalidArgumentError, NotFoundError, OutOfRangeError, WireError
from pyrep.interconnect.messages import Digests, FindData, FoundData, ReadDigests
from pyrep.model import SPAN_BYTES, DigestKind, PairId, Row, chunk_count

__all__ = ["DigestDesk", "one_kind"]


def one_kind(told: str) -> DigestKind:
    """Return the kind of this name. WireError: there is none; the peer is of a later version."""
    try:
        return DigestKind(told)
    except ValueError as error:
        raise WireError(f"digests of kind {told!r} aren't known here") from error


class DigestDesk:
    """Answers on behalf of one system: of rows of pairs with the one that asks, no others."""

    def __init__(self, state: SystemState) -> None:
        self._state = state

    def _row(self, peer: Peer, pair_id: str) -> Row:
        row = self._state.mirror(PairId(pair_id)).row
        if not row.is_remote or row.pair_system_id != peer.system_id:
            raise NotFoundError(
                f"no pair {pair_id} of system {peer.system_id}",
                hint="look into the pair at both systems: system.pairs()",
            )
        return row

    def read(self, peer: Peer, asked: ReadDigests) -> Digests:
        """Return digests of this side's volume, as its storage holds it at some moment of the call.

        Raises:
            NotFoundError: no such pair with this system.
            InvalidArgumentError, OutOfRangeError, WireError: a question that can't be answered.
            DeviceError: the volume can't be read, or not be made durable.
        """
        row = self._row(peer, asked.pair_id)
        kind = one_kind(asked.kind)
        if asked.group_bytes > SPAN_BYTES:
            raise InvalidArgumentError(f"cannot digest groups of {asked.group_bytes} bytes")
        live = self._state.volume(row.volume_id)
        if asked.flush:
            live.core.flush(ack_timeout_s=self._state.options.ack_timeout_s)
        runs = Runs.from_bytes(asked.runs)
        if len(runs) > WINDOW_RUNS:
            raise InvalidArgumentError(f"cannot digest {len(runs)} runs at once")
        sums = Sums(kind, chunk_bytes=row.chunk_bytes, group_bytes=asked.group_bytes)
        values, _ = sums.read(live.io, runs)
        return Digests(values=values)

    def find_data(self, peer: Peer, asked: FindData) -> FoundData:
        """Return where this side's volume has data, as its storage tells at this moment.

        Raises:
            NotFoundError: no such pair with this system.
            OutOfRangeError: chunks that the volume doesn't have.
            DeviceError: the storage can't be looked at.
        """
        row = self._row(peer, asked.pair_id)
        io = self._state.volume(row.volume_id).io
        past = asked.first + asked.count
        if min(asked.first, asked.count) < 0 or past > chunk_count(io.size_bytes, row.chunk_bytes):
            raise OutOfRangeError(
                f"cannot look for data in chunks {asked.first}…{past} of {row.volume_id}"
            )
        runs, past = data_runs(io, asked.first, past, chunk_bytes=row.chunk_bytes)
        return FoundData(runs=Runs.of(runs).to_bytes(), past=past)
