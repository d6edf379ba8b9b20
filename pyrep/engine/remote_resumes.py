"""What a path's loss and return do to the remote pairs whose PVOL is here."""

from __future__ import annotations

import contextlib
import logging

from pyrep.engine.backoff import Backoff
from pyrep.engine.mirror import Mirror
from pyrep.engine.remote_copies import RemoteCopies, resumes_forward
from pyrep.engine.remote_copies_back import RemoteCopiesBack
from pyrep.engine.remote_line import RemoteLine, expect
from pyrep.engine.remote_meeting import Will
from pyrep.engine.roles import guard_of
from pyrep.engine.state import ANY_LEASE, SystemState
from pyrep.errors import DeviceError, NotFoundError, PathLostError, PyrepError
from pyrep.interconnect.messages import KnownPairs, PairFacts, ReadPair
from pyrep.model import Direction, PairId, PairStatus, Row, SplitCause, SystemId

__all__ = ["RemoteResumes"]

_log = logging.getLogger(__name__)

_OTHERS_S = 60.0
"""How long an automatic resume waits for a command that holds the pair."""


class RemoteResumes:
    """Pairs that wait for a path, and go on by themselves when it is back."""

    def __init__(
        self,
        state: SystemState,
        line: RemoteLine,
        copies: RemoteCopies,
        copies_back: RemoteCopiesBack,
    ) -> None:
        self._state = state
        self._line = line
        self._copies = copies
        self._copies_back = copies_back
        self._to_resume: set[PairId] = set()
        self.backoff = Backoff()
        """Of resumes that were refused; the path's return doesn't wait for it."""
        self._unnoted: set[PairId] = set()

    def path_lost(self, system_id: SystemId) -> None:
        """The path to a secondary is gone: DUPLEX becomes SPLIT; COPY waits for the path."""
        state = self._state
        for mirror in list(state.mirrors.values()):
            row = mirror.row
            if not row.is_remote or not row.is_primary or row.pair_system_id != system_id:
                continue
            with state.control:
                if mirror.job:
                    mirror.job.cancel(PathLostError("the path was lost", hint="restore the path"))
                mirror.stopped = False  # its return resumes every copy
            if row.direction is Direction.REVERSE and row.status is PairStatus.COPY:
                continue
            with state.control:
                if state.mirrors.get(mirror.key) is not mirror:
                    continue  # dissolved meanwhile: no operation is held here
                mirror.link.mark()
                mirror.link.guard(on=guard_of(mirror.row) is not False)
                self._note_lost(mirror)

    def _note_lost(self, mirror: Mirror) -> None:
        """Write down that the path is lost, now or when the tables can be written again.

        Hosts go on meanwhile, marked; a crash finds the row DUPLEX, and what was marked pending.
        """
        pair_id = mirror.row.pair_id
        self._unnoted.discard(pair_id)
        if mirror.row.status is not PairStatus.DUPLEX:
            return
        try:
            self._state.change(mirror, status=PairStatus.SPLIT, cause=SplitCause.PATH_LOST)
        except DeviceError as error:
            _log.warning("pair.unnoted pair=%s is SPLIT, path_lost: %s", pair_id, error)
            self._unnoted.add(pair_id)

    def path_returned(self, system_id: SystemId) -> None:
        """Bring every pair with this secondary on: resume what may resume by itself.

        First the secondary forgets the pairs that only it knows: a crash here, between its part of
        a creation and this side's, has left them.
        """
        peer = self._state.peer(system_id)
        with peer.roster:
            pairs = self._pairs_with(system_id)
            peer.ask(KnownPairs(pair_ids=[one.row.pair_id for one in pairs]))
        for mirror in pairs:
            self._try_resume(mirror)

    def _pairs_with(self, system_id: SystemId) -> list[Mirror]:
        with self._state.control:
            return [
                one
                for one in self._state.mirrors.values()
                if one.row.is_remote and one.row.is_primary and one.row.pair_system_id == system_id
            ]

    def _try_resume(self, mirror: Mirror) -> None:
        pair_id = mirror.row.pair_id
        try:
            self._resume(mirror)
        except PathLostError as error:
            _log.info("pair.resume pair=%s: %s", pair_id, error)
        except PyrepError as error:
            _log.warning("pair.resume pair=%s not now: %s", pair_id, error)
            self._to_resume.add(pair_id)
            self.backoff.refused(pair_id)
        else:
            self.backoff.forget(pair_id)

    def resume_refused(self) -> None:
        """Try again what couldn't resume when the path came back, or couldn't be written down."""
        for pair_id in list(self._unnoted):
            with contextlib.suppress(NotFoundError), self._state.control:
                self._note_lost(self._state.mirror(pair_id))
                if pair_id not in self._unnoted:
                    self._to_resume.add(pair_id)
        for pair_id in list(self._to_resume):
            if not self.backoff.may(pair_id):
                continue
            self._to_resume.discard(pair_id)
            with contextlib.suppress(NotFoundError, PathLostError):  # dissolved; the path resumes
                mirror = self._state.mirror(pair_id)
                self._line.peer(mirror).connection()
                self._try_resume(mirror)

    def _resume(self, mirror: Mirror) -> None:
        if mirror.row.pair_id in self._unnoted:
            return  # it goes on once it is written down
        row = mirror.row
        try:
            answer = self._line.peer(mirror).ask(ReadPair(pair_id=row.pair_id))
        except NotFoundError:
            self._note_unknown(mirror)
            return
        facts = expect(answer, PairFacts)
        if self._waits_for_command(row, facts):
            self._note_repaired(mirror, facts)
        elif self._came_to_its_end(row, facts):
            self._end_copy_back(mirror)
        elif row.status is PairStatus.COPY and row.direction is Direction.REVERSE:
            self._copies_back.resync_reverse(
                row.pair_id, lease=ANY_LEASE, timeout_s=_OTHERS_S, will=Will(by_itself=True)
            )
        elif resumes_forward(row):
            _log.info("pair.resume pair=%s peer_status=%s", row.pair_id, facts.status)
            self._copies.resync_forward(
                row.pair_id, lease=ANY_LEASE, timeout_s=_OTHERS_S, will=Will(by_itself=True)
            )
        elif row.status is PairStatus.SPLIT:
            # Held, and asked again: somebody may be resyncing it by now.
            with self._state.operation(
                "split", [row.pair_id], lease=ANY_LEASE, timeout_s=_OTHERS_S
            ):
                if mirror.row.status is PairStatus.SPLIT:
                    self._line.tell_split(mirror, there=PairStatus(facts.status))

    @staticmethod
    def _came_to_its_end(row: Row, facts: PairFacts) -> bool:
        """Whether a copy back is over, and the secondary, which knew, ended unclean then.

        The PVOL is whole and durable; the SVOL counts as torn, though no host wrote to the PVOL.
        """
        return (
            row.status is PairStatus.COPY
            and row.direction is Direction.REVERSE
            and row.target_consistent
            and not facts.target_consistent
            and facts.direction == Direction.FORWARD
        )

    def _end_copy_back(self, mirror: Mirror) -> None:
        """Write down what the crash made of the pair, and go on forward: so nothing is lost."""
        pair_id = mirror.row.pair_id
        with self._state.operation("split", [pair_id], lease=ANY_LEASE, timeout_s=_OTHERS_S):
            row = mirror.row
            if row.status is not PairStatus.COPY or row.direction is not Direction.REVERSE:
                return
            mirror.link.mark()
            self._copies_back.commit_whole(
                mirror,
                status=PairStatus.SPLIT,
                cause=SplitCause.UNCLEAN,
                direction=Direction.FORWARD,
                pending_union=False,
            )
        self._copies.resync_forward(
            pair_id, lease=ANY_LEASE, timeout_s=_OTHERS_S, will=Will(by_itself=True)
        )

    @staticmethod
    def _waits_for_command(row: Row, facts: PairFacts) -> bool:
        """Whether the pair would copy by itself while the secondary waits for a command.

        A copy back is known here first: a secondary that wasn't repaired and says that it was split
        on request hasn't heard of it, and it goes on.
        """
        if facts.repaired:
            return row.status is PairStatus.COPY or resumes_forward(row)
        if facts.cause != SplitCause.REQUESTED:
            return False
        if row.status is PairStatus.COPY:
            return row.direction == facts.direction
        return row.direction is Direction.FORWARD and resumes_forward(row)

    def _note_repaired(self, mirror: Mirror, facts: PairFacts) -> None:
        """The secondary waits for a command: its side was repaired, everything is pending there.

        A split that was asked for is written down here before the secondary hears of it, so that
        nothing else leads to this. After a copy back that had come to its end the PVOL is whole,
        and hosts get it back.
        """
        pair_id = mirror.row.pair_id
        with self._state.operation("split", [pair_id], lease=ANY_LEASE, timeout_s=_OTHERS_S):
            row = mirror.row
            if not self._waits_for_command(row, facts) or mirror.job:
                return
            _log.warning(
                "pair.repaired pair=%s system %s waits for a resync by command",
                pair_id,
                row.pair_system_id,
            )
            mirror.link.mark()
            split = {
                "status": PairStatus.SPLIT,
                "cause": SplitCause.REQUESTED,
                "pending_union": False,
            }
            back = row.status is PairStatus.COPY and row.direction is Direction.REVERSE
            if back and row.target_consistent:
                self._copies_back.commit_whole(
                    mirror, direction=Direction.FORWARD, target_consistent=False, **split
                )
                return
            whole = row.target_consistent and row.status is PairStatus.SPLIT
            self._state.change(mirror, target_consistent=whole, **split)

    def _note_unknown(self, mirror: Mirror) -> None:
        """The secondary doesn't know the pair: it stays as it is, until somebody dissolves it."""
        _log.warning(
            "pair.unknown pair=%s system %s doesn't know it: dissolve it here",
            mirror.row.pair_id,
            mirror.row.pair_system_id,
        )
        with self._state.operation("split", [mirror.row.pair_id], lease=ANY_LEASE):
            mirror.link.mark()
            self._state.change(
                mirror, status=PairStatus.SPLIT, cause=SplitCause.REQUESTED, pending_union=False
            )
