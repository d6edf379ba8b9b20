"""Remote pairs at their secondary: what the primary's commands do here."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from pyrep.engine.copies_back import CopiesBack
from pyrep.engine.decide import Judge, check_same_size
from pyrep.engine.local import LocalPairs
from pyrep.engine.mirror import Mirror
from pyrep.engine.orders import check_seen, in_turn, own_row
from pyrep.engine.peer import Peer
from pyrep.engine.remote import RemotePairs
from pyrep.engine.state import ANY_LEASE, SystemState
from pyrep.errors import (
    BusyError,
    DeviceError,
    ExistsError,
    NotFoundError,
    PyrepError,
    RefusedError,
    WireError,
)
from pyrep.interconnect.messages import (
    AgedPairs,
    AgePairs,
    BeginForward,
    BindChannel,
    CreatePair,
    FinishPair,
    KnownPairs,
    PairCreated,
    PairFacts,
    Pending,
    PendingBits,
    SplitPair,
    Waits,
)
from pyrep.model import (
    AckPoint,
    CopyType,
    Direction,
    GenerationCause,
    GroupId,
    Lineage,
    PairId,
    PairStatus,
    Primary,
    Protect,
    Row,
    SplitCause,
    SystemId,
    VolumeId,
    new_key,
)
from pyrep.model.roles import VolumeRef
from pyrep.seams import Connection

__all__ = ["SecondarySide"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_ASKED_S = 0.5
"""How long one order waits for local copies: then who gave it says whether it still wants that."""


class SecondarySide:
    """The rows of remote pairs whose SVOL is here. Every command comes from the pair's primary."""

    def __init__(
        self, state: SystemState, local: LocalPairs, remote: RemotePairs, judge: Judge
    ) -> None:
        self._state = state
        self._local = local
        self._remote = remote
        self._judge = judge
        self.back = CopiesBack(state, judge)

    # --- life ------------------------------------------------------------------------------------

    def create(self, peer: Peer, connection: Connection, asked: CreatePair) -> PairCreated | Waits:
        """Make the SVOL's row, in COPY forward; tell whether the SVOL is without data, durably.

        While a local copy out of the SVOL runs it is refused. One that is just ending is waited for
        as in `begin_forward`: the order is given again.

        Raises:
            BusyError: it was waited for as long as may be.
            PathLostError: the order is late: nobody would forget the row until the next path.
            RefusedError: also when `Options.targets` doesn't let this system.
        """
        state = self._state
        svol = VolumeId(asked.svol)
        name = f"cannot create a remote pair {peer.system_id}:{asked.pvol} → {svol}"
        pvol_ref = VolumeRef(SystemId(peer.system_id), VolumeId(asked.pvol))

        # Before anything is looked up: a system that may not gets to know of no volume.
        targets = state.options.targets
        if targets is not None and svol not in targets.get(peer.system_id, ()):
            raise RefusedError(
                f"{name}: system {state.system_id} doesn't let system {peer.system_id} create "
                f"pairs onto it",
                hint=f"name it at {state.system_id}: {peer.system_id} = [{svol!r}] below [targets] "
                f"of its configuration, or in Options.targets",
            )

        def check() -> None:
            peer.check_in_use(connection)
            check_same_size(name, asked.size_bytes, state.volume(svol).record.size_bytes)
            svol_ref = VolumeRef(state.system_id, svol)
            self._judge.check_create_remote(name, svol, pvol_ref, svol_ref, asked.chunk_bytes)
            if any(key[0] == asked.pair_id for key in state.mirrors):
                raise ExistsError(
                    f"{name}: pair {asked.pair_id} exists already",
                    hint="dissolve it at its primary first; what only this side knows is forgotten "
                    "when the path is back",
                )
            state.check_leases(name.removeprefix("cannot "), [svol], None)

        def protect(longest_s: float) -> None:
            self._local.splits.protect(
                svol, how=Protect(asked.protect), lease=None, longest_s=longest_s
            )

        with state.control:
            check()
        waits = self._unless_copied(svol, asked.waited_s, protect)
        if waits is not None:
            return waits
        row = Row(
            pair_id=PairId(asked.pair_id),
            copy_type=CopyType.REMOTE,
            volume_id=svol,
            pair_system_id=peer.system_id,
            mirror_volume_id=VolumeId(asked.pvol),
            primary=Primary.NO,
            status=PairStatus.COPY,
            row_key=new_key(),
            group_id=GroupId(asked.group_id),
            ack=AckPoint(asked.ack),
            chunk_bytes=asked.chunk_bytes,
            lineage=Lineage(current=asked.current),
        )
        mirror = self._remote.open_row(row, check)
        mirror.link.idle()
        state.save(mirror)  # nothing is pending here: a crash of this side copies nothing anew
        return PairCreated(blank=self._is_blank(svol))

    def _is_blank(self, volume_id: VolumeId) -> bool:
        """Whether the fenced volume is without data, and would be after a power loss.

        Flushed before the look: what hosts have trimmed could come back.
        """
        live = self._state.volume(volume_id)
        try:
            if not live.is_blank():
                return False
            live.core.flush(ack_timeout_s=0)
            return live.is_blank()
        except PyrepError as error:
            _log.info("pair.blank volume=%s taken for full: %s", volume_id, error)
            return False

    def remove(self, peer: Peer, connection: Connection, pair_id: str) -> None:
        """Forget the row, if there is one.

        Raises:
            PathLostError: the order is late: the pair may have been brought back since.
        """
        try:
            mirror = own_row(self._state, peer, pair_id)
        except NotFoundError:
            return
        self._remote.forget(mirror, connection=connection)

    def forget_others(self, peer: Peer, connection: Connection, known: KnownPairs) -> None:
        """Forget the pairs that this primary doesn't know: halves of creations or dissolutions.

        Raises:
            PathLostError: the order is late: it doesn't know of pairs created since.
        """
        ids = set(known.pair_ids)
        with in_turn(self._state, peer, connection):
            others = [
                one
                for one in self._state.mirrors.values()
                if one.row.is_remote
                and not one.row.is_primary
                and one.row.pair_system_id == peer.system_id
                and one.row.pair_id not in ids
            ]
        for mirror in others:
            _log.warning(
                "pair.forgotten pair=%s system %s doesn't know it",
                mirror.row.pair_id,
                peer.system_id,
            )
            self.back.end_for(peer, connection, mirror)
            self._remote.forget(mirror, connection=connection)

    def bind(self, peer: Peer, connection: Connection, asked: BindChannel) -> None:
        """Records of a channel are the pair's."""
        mirror = own_row(self._state, peer, asked.pair_id)
        with in_turn(self._state, peer, connection):
            # The source has durably begun: what it sends from here on counts from the copy's
            # identifier alone.
            if mirror.row.lineage.common and not mirror.row.lineage.written:
                self._state.change(mirror, lineage=mirror.row.lineage.confirmed())
        peer.bind(connection, asked.stream_id, asked.channel, mirror.link)

    def facts(self, peer: Peer, pair_id: str) -> PairFacts:
        """Tell the row."""
        with self._state.control:  # it isn't dissolved meanwhile
            mirror = own_row(self._state, peer, pair_id)
            row = mirror.row
            return PairFacts(
                status=row.status,
                cause=row.cause,
                direction=row.direction,
                target_consistent=row.target_consistent,
                pending_count=mirror.link.pending_count(),
                current=row.lineage.current,
                common=row.lineage.common,
                written=row.lineage.written,
                history=list(row.lineage.history),
                age=row.lineage.age,
                repaired=row.repaired,
            )

    def age(self, peer: Peer, connection: Connection, asked: AgePairs) -> AgedPairs:
        """Let data identifiers grow older (`pyrep/engine/ageing.py`), in one transaction.

        A pair that isn't what its primary takes it for is left alone: the number of an age that is
        told twice, or that skips a step, would call content the same that isn't.

        Raises:
            PathLostError: the order is late.
            WireError: it is no order.
        """
        if not len(asked.pair_ids) == len(asked.points) == len(asked.ages):
            raise WireError(f"system {peer.system_id} tells ages of other pairs than it names")
        done: list[tuple[Mirror, int]] = []
        with in_turn(self._state, peer, connection):
            for pair_id, point, age in zip(asked.pair_ids, asked.points, asked.ages, strict=True):
                with contextlib.suppress(NotFoundError):
                    mirror = own_row(self._state, peer, pair_id)
                    lineage = mirror.row.lineage
                    goes_on = mirror.row.status in {PairStatus.COPY, PairStatus.DUPLEX}
                    if goes_on and lineage.point == point and 0 <= age - lineage.age <= 2:
                        done.append((mirror, age))
            self._state.age(done)
        return AgedPairs(pair_ids=[mirror.row.pair_id for mirror, _ in done])

    def pending(self, peer: Peer, connection: Connection, asked: Pending) -> PendingBits:
        """Tell the pending bitmap (550, 670), if a copy in this direction may begin."""
        mirror = own_row(self._state, peer, asked.pair_id)
        if asked.peek:
            return PendingBits(bits=mirror.pending().to_roaring())
        if Direction(asked.direction) is Direction.FORWARD:
            self._check_may_copy_into(mirror)
        else:
            self.back.check_may_begin(mirror, resumes=asked.resumes, forced=asked.forced)
            # What an earlier copy has left on its way would fail in the new one's name.
            self.back.end_for(peer, connection, mirror)
            self.back.drain(peer, mirror)
        return PendingBits(bits=mirror.pending().to_roaring(), overmarked=mirror.is_overmarked)

    def _check_may_copy_into(self, mirror: Mirror) -> None:
        volume_id = mirror.row.volume_id
        for one in self._state.local_svol_mirrors(volume_id):
            if one.row.status is PairStatus.COPY and one.row.direction is Direction.REVERSE:
                raise RefusedError(
                    f"cannot copy into {volume_id}: local pair {one.row.pair_id} is copying back "
                    f"into it",
                    hint="wait until that copy has ended",
                )

    # --- forward ---------------------------------------------------------------------------------

    def begin_forward(
        self, peer: Peer, connection: Connection, asked: BeginForward
    ) -> PendingBits | Waits:
        """Become the target; before the first byte, keep one consistent copy.

        What local copies stand against is asked again, for `Options.copy_wait_s` at most: so it is
        known that somebody wants it still. With nothing to copy the volume stays consistent, and
        its mirrors go on; should anything come up before the primary ships, it asks once more.

        Returns:
            What is pending here now that no host writes any more; or the copy that is waited for.

        Raises:
            BusyError: it was waited for as long as may be.
            RefusedError: hosts began to write here after the primary had looked: it hasn't decided
                about that. Nothing has changed but, perhaps, the mirrors.
            PathLostError: the order is late.
        """
        mirror = own_row(self._state, peer, asked.pair_id)

        def begin(longest_s: float) -> PendingBits:
            return PendingBits(bits=self._begin_forward(peer, connection, mirror, asked, longest_s))

        return self._unless_copied(mirror.row.volume_id, asked.waited_s, begin)

    def _unless_copied(
        self, volume_id: VolumeId, waited_s: float, do: Callable[[float], T]
    ) -> T | Waits:
        """Do what local copies out of a volume may stand against; or tell of one that does.

        Args:
            volume_id: the volume.
            waited_s: for how long that has been asked.
            do: told how long it may wait for them now.

        Raises:
            BusyError: it has been asked for `Options.copy_wait_s`, or something else is busy.
        """
        left_s = self._state.options.copy_wait_s - waited_s
        try:
            return do(min(_ASKED_S, max(left_s, 0.0)))
        except BusyError:
            ahead = self._local.splits.copying_out_of(volume_id)
            if ahead is None or left_s <= 0:
                raise
            pair_id, job = ahead
            return Waits(pair_id=pair_id, done_bytes=job.done_bytes, total_bytes=job.total_bytes)

    def _begin_forward(
        self,
        peer: Peer,
        connection: Connection,
        mirror: Mirror,
        asked: BeginForward,
        longest_s: float,
    ) -> bytes:
        state, row = self._state, mirror.row
        peer.check_in_use(connection)
        self._check_may_copy_into(mirror)
        self._local.splits.await_copies(
            row.volume_id, f"cannot copy into {row.volume_id}", longest_s=longest_s
        )
        check_seen(self._state, mirror, asked.seen, asked.current, written=asked.written)
        if asked.pending_count and row.target_consistent:
            self._local.splits.protect(
                row.volume_id,
                how=Protect(asked.protect),
                cause=GenerationCause.REPAIR if asked.repairs else GenerationCause.PROTECT,
                lease=ANY_LEASE,
                longest_s=longest_s,
            )
        with state.control:
            # Again: a local pair may have begun to copy back while the others were split, and a
            # host may have written for the first time.
            peer.check_in_use(connection)
            self._check_may_copy_into(mirror)
            check_seen(self._state, mirror, asked.seen, asked.current, written=asked.written)
            whole = mirror.row.target_consistent and not asked.pending_count
            followers = [] if whole else self._local.splits.followers(row.volume_id, whole=False)
            target = replace(
                mirror.row,
                status=PairStatus.COPY,
                cause=None,
                direction=Direction.FORWARD,
                target_consistent=whole,
                pending_union=False,
                lineage=mirror.row.lineage.as_target(asked.current, asked.base),
            )
            state.commit(target, *followers)
        # The fence is closed: only the path writes here now.
        mirror.link.idle()
        return mirror.pending().to_roaring()

    def finish(self, peer: Peer, connection: Connection, asked: FinishPair) -> None:
        """Equal and durable on both sides.

        Raises:
            PathLostError: the order is late: it belongs to a copy of an earlier connection.
        """
        mirror = own_row(self._state, peer, asked.pair_id)
        with in_turn(self._state, peer, connection):
            row = mirror.row
            if row.status is not PairStatus.COPY or row.direction is not Direction.FORWARD:
                raise RefusedError(  # its volume failed, or the path was lost, just now
                    f"cannot end the copy into {row.volume_id}: status is {row.status}",
                    hint="resync the pair at its primary: pair.resync()",
                )
            mirror.link.clean()
            whole = replace(
                row,
                status=PairStatus.DUPLEX,
                target_consistent=asked.consistent,
                pending_union=False,
                lineage=row.lineage.in_sync(asked.current),
            )
            followers = (
                self._local.splits.followers(row.volume_id, whole=True) if asked.consistent else []
            )
            self._state.commit(whole, *followers)

    def split(self, peer: Peer, connection: Connection, asked: SplitPair) -> None:
        """Mark from now on; hosts may write if somebody asked for the split.

        Raises:
            PathLostError: the order is late: a later connection may have begun a copy.
        """
        mirror = own_row(self._state, peer, asked.pair_id)
        self.back.end_for(peer, connection, mirror)
        peer.unbind_link(mirror.link, connection)
        with in_turn(self._state, peer, connection):
            mirror.link.mark()
            self._state.change(
                mirror, status=PairStatus.SPLIT, cause=SplitCause(asked.cause), pending_union=False
            )

    # --- path and storage ------------------------------------------------------------------------

    def path_lost(self, system_id: SystemId) -> None:
        """The path to a primary is gone: DUPLEX becomes SPLIT, closed to hosts; COPY waits."""
        state = self._state
        for mirror in list(state.mirrors.values()):
            row = mirror.row
            if not row.is_remote or row.is_primary or row.pair_system_id != system_id:
                continue
            # What came until then is durable: a crash while it is SPLIT mustn't tear it.
            state.peer(system_id).unbind_link(mirror.link)
            self.back.end(mirror)
            if row.status is PairStatus.COPY and row.direction is Direction.FORWARD:
                continue
            with state.control:
                if state.mirrors.get(mirror.key) is not mirror:
                    continue  # forgotten meanwhile
                mirror.link.mark()
                if mirror.row.status is PairStatus.DUPLEX:
                    with self._noting(mirror):
                        state.change(mirror, status=PairStatus.SPLIT, cause=SplitCause.PATH_LOST)

    def volume_failed(self, mirror: Mirror, errno_code: int) -> None:
        """A record couldn't be applied: SPLIT, device_error; what was lost is pending here."""
        state = self._state
        row = mirror.row
        _log.warning(
            "pair.device_error pair=%s volume=%s errno=%d", row.pair_id, row.volume_id, errno_code
        )
        with state.control:
            # What this side lacks is pending in memory alone, and the peer is about to be told that
            # it needn't know any more. The watch saves the row when it is split.
            with contextlib.suppress(PyrepError):
                mirror.file.mark_open()
            if mirror.row.status is PairStatus.SPLIT:
                return
            with self._noting(mirror):
                state.change(
                    mirror,
                    status=PairStatus.SPLIT,
                    cause=SplitCause.DEVICE_ERROR,
                    target_consistent=False,
                    pending_union=False,
                )

    @staticmethod
    @contextlib.contextmanager
    def _noting(mirror: Mirror) -> Iterator[None]:
        """Go on when the tables can't be written: the primary knows, and resyncs all the same.

        After a crash the row is as if nothing had happened: DUPLEX, ended unclean, inconsistent.
        """
        try:
            yield
        except DeviceError as error:
            _log.warning("pair.unnoted pair=%s: %s", mirror.row.pair_id, error)
