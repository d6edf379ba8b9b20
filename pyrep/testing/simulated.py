"""A path that does to two systems what networks do: in simulated time, from one seed.

Messages take time, each lane by itself; the path is lost after so many bytes, loses single
messages, goes silent for one side or both, and what was on its way comes late, over a connection
that was given up long ago. What two systems make of it is checked by `pyrep.testing.check_covered`
and its neighbours.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time

from pyrep.engine import StorageSystem
from pyrep.errors import PathLostError, PyrepError
from pyrep.seams import Buffer, Connection, Endpoint
from pyrep.testing.clock import SimulatedClock
from pyrep.testing.invariants import InvariantError
from pyrep.testing.simulated_lane import Kind, Lane, Message

__all__ = ["SimulatedPath", "connect_simulated"]

_log = logging.getLogger(__name__)


class _End(Connection):
    """One side's end of one attempt."""

    def __init__(self, path: SimulatedPath, trial: _Attempt, side: int) -> None:
        self._path = path
        self._trial = trial
        self._side = side
        self.attempt = trial.number

    def send_frame(self, frame: Buffer) -> None:
        self._path.send(self._trial, self._side, Message(kind=Kind.FRAME, data=bytes(frame)))

    def send_ack(self, ack: bytes) -> None:
        self._path.send(self._trial, self._side, Message(kind=Kind.ACK, data=ack))

    def request(self, message: bytes) -> bytes:
        return self._path.request(self._trial, self._side, message)

    def close(self) -> None:
        self._path.lose(self._trial)


class _Attempt:
    """One connection: its ends, its lanes, and which side knows that it is gone."""

    def __init__(self, path: SimulatedPath, number: int) -> None:
        self.number = number
        self.ends = (_End(path, self, 0), _End(path, self, 1))
        self.silent = False
        self.told = [False, False]
        self.got_over = threading.Condition()
        self.being_told = 0
        self.noticing = False
        self.waiting: list[set[Message]] = [set(), set()]
        self.lanes: dict[tuple[int, bool], Lane] = {}

    @property
    def is_over(self) -> bool:
        """Whether both sides know."""
        return all(self.told)

    def wait_got_over(self) -> None:
        """Wait until the sides that are being told have taken notice."""
        with self.got_over:
            self.got_over.wait_for(lambda: not self.being_told)


class SimulatedPath:
    """Path 150 between two systems of one process, with everything that befalls a network.

    It stands where `LoopPath` does. Frames, acknowledgements, commands and answers are delivered by
    threads of the path, when they are due; frames have a lane of their own in each direction, all
    else shares one.

    Args:
        one, other: the systems' endpoints.
        seed: what times and orders come from. Threads of the systems still run as the machine lets
            them: the same seed gives the same faults at the same messages, but not always the same
            interleaving.
        latency_s: shortest and longest time of a message on its way, in simulated seconds.
        notice_s: how long a side that sends into silence waits until it takes the path for lost;
            simulated, too.
        clock: to share with other paths.
    """

    def __init__(
        self,
        one: Endpoint,
        other: Endpoint,
        *,
        seed: int = 0,
        latency_s: tuple[float, float] = (0.0, 0.005),
        notice_s: float = 6.0,
        clock: SimulatedClock | None = None,
    ) -> None:
        self.clock = clock or SimulatedClock()
        self._endpoints = [one, other]
        self._seed = seed
        self._latency_s = latency_s
        self._notice_s = notice_s
        self._lock = threading.RLock()
        self._connecting = threading.Lock()
        self._number = 0
        self._trial: _Attempt | None = None
        self._past: list[_Attempt] = []
        self._late: list[tuple[int, Connection, Message]] = []
        self._left_bytes: int | None = None
        self._drops: dict[Kind, int] = {}
        self._stalled = False
        self._bytes = 0
        self._refused = 0

    # --- connections -----------------------------------------------------------------------------

    def connect(self) -> None:
        """Bring the path up with a new attempt, also where a side still believes in the last one.

        Nothing happens while it is up.

        Raises:
            WireError: the systems don't understand each other; the path stays down.
        """
        with self._connecting:
            with self._lock:
                if self.is_up:
                    return
                old = self._trial
                self._number = max(self._number + 1, time.time_ns())
                trial = _Attempt(self, self._number)
                for side, frames in itertools.product((0, 1), (True, False)):
                    trial.lanes[side, frames] = self._lane(trial, side, frames=frames)
                self._trial = trial
                self._left_bytes = None
                self._drops.clear()
                self._stalled = False
            try:
                hellos = [each.hello() for each in self._endpoints]
                for side, endpoint in enumerate(self._endpoints):
                    endpoint.greet(trial.ends[side], hellos[1 - side])
            except BaseException:
                self.lose(trial)
                raise
            finally:
                if old is not None:
                    self.lose(old)  # a side that hadn't noticed has given it up by now
                    old.wait_got_over()
            for side, endpoint in enumerate(self._endpoints):
                with contextlib.suppress(PathLostError):  # lost again already
                    endpoint.path_up(trial.ends[side])

    restore = connect

    def _lane(self, trial: _Attempt, side: int, *, frames: bool) -> Lane:
        """Return what carries a side's frames, or everything else it sends."""
        sender = self._endpoints[side].system_id
        what = "frames" if frames else "control"
        return Lane(
            f"path {sender} {what}",
            self.clock,
            seed=f"{self._seed} {len(self._past)} {side} {what}",
            latency_s=self._latency_s,
            deliver=lambda message: self._deliver(trial, side, message),
            is_over=lambda: trial.silent or trial.is_over,
        )

    @property
    def is_up(self) -> bool:
        """Whether messages pass, as far as the path itself knows."""
        trial = self._trial
        return trial is not None and not trial.silent and not any(trial.told)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        trial = self._trial
        return trial is None or all(lane.is_idle for lane in trial.lanes.values())

    @property
    def frame_bytes(self) -> int:
        """Bytes of all frames that were sent so far, in both directions."""
        return self._bytes

    @property
    def refused_count(self) -> int:
        """How many messages came late, over a connection that was given up, and were refused."""
        return self._refused

    def end_of(self, system_id: str) -> PathEnd:
        """Return one side's share of the path: what a system closes when it closes."""
        return PathEnd(self, self._side_of(system_id))

    def replace(self, endpoint: Endpoint) -> None:
        """Put a system that was started anew in the place of what it was before; it is down."""
        self._endpoints[self._side_of(endpoint.system_id)] = endpoint

    def _side_of(self, system_id: str) -> int:
        return [each.system_id for each in self._endpoints].index(system_id)  # type: ignore[arg-type]

    # --- what befalls it -------------------------------------------------------------------------

    def cut(self) -> None:
        """Lose the path: when it returns, both sides have taken notice."""
        trial = self._trial
        if trial is not None:
            self.lose(trial)
            trial.wait_got_over()

    def close(self) -> None:
        """Cut for good, as `cut`."""
        self.cut()

    def cut_after(self, count_bytes: int) -> None:
        """Cut the path when so many more bytes were sent; the message that they end in is lost."""
        with self._lock:
            self._left_bytes = count_bytes

    def drop(self, kind: Kind, count: int = 1) -> None:
        """Lose the next messages of a kind; what follows them passes.

        The other side refuses frames after a gap; else the path finds out after `notice_s`, and is
        cut.
        """
        with self._lock:
            self._drops[kind] = self._drops.get(kind, 0) + count

    def calm(self) -> None:
        """Take back what was asked of `cut_after` and `drop` and hasn't happened yet."""
        with self._lock:
            self._left_bytes = None
            self._drops.clear()

    def fall_silent(self, *, told: str | None = None) -> None:
        """Let nothing pass any more, and nobody know: a half-open connection.

        A side that sends something finds out after `notice_s`; one that doesn't, when the path is
        brought up again.

        Args:
            told: the system that knows at once.
        """
        trial = self._trial
        if trial is None:
            return
        self._silence(trial)
        with self._lock:
            waits = any(trial.waiting)  # its question, or the answer, was on its way already
        if waits:
            self._notice_later(trial)
        if told is not None:
            self._tell(trial, self._side_of(told))

    def stall(self) -> None:
        """Let frames wait, in both directions, until `resume` or a cut; all else still passes."""
        self._stall(stalled=True)

    def resume(self) -> None:
        """End a stall."""
        self._stall(stalled=False)

    def _stall(self, *, stalled: bool) -> None:
        with self._lock:
            trial, self._stalled = self._trial, stalled
        if trial is not None:
            for side in (0, 1):
                trial.lanes[side, True].stall(stalled=stalled)

    def revive(self) -> int:
        """Deliver what was on its way when connections were lost, over these connections.

        Returns:
            How many messages came.

        Raises:
            InvariantError: a system took one of them.
        """
        with self._lock:
            late, self._late = self._late, []
        for side, connection, message in late:
            endpoint = self._endpoints[side]
            if any(connection in each.ends and not each.is_over for each in self._past):
                continue  # a side still believes in it
            try:
                self._hand_over(endpoint, connection, message)
            except PyrepError:
                self._refused += 1
            else:
                raise InvariantError(
                    "attempts",
                    f"{endpoint.system_id} took a {message.kind} of attempt "
                    f"{connection.attempt}, which was given up",
                )
        return len(late)

    # --- messages --------------------------------------------------------------------------------

    def send(self, trial: _Attempt, side: int, message: Message) -> None:
        """Put a message on its way; what is sent into silence is lost, and found out later."""
        with self._lock:
            if trial.told[side]:
                raise PathLostError("the path was lost", hint="restore the path")
            if message.kind is Kind.FRAME:
                self._bytes += len(message.data)
            if trial.silent:
                self._keep_late(trial, side, message)
                self._notice_later(trial)
                return
            lane = trial.lanes[side, message.kind is Kind.FRAME]
            if self._is_cut_by(message):
                self._silence(trial)
                self._keep_late(trial, side, message)
                threading.Thread(
                    target=self.lose, args=(trial,), name="path cut", daemon=True
                ).start()
            elif self._drops.get(message.kind, 0):
                self._drops[message.kind] -= 1
                self._keep_late(trial, side, message)
                lane.put(Message(kind=Kind.NOTICE), later_s=self._notice_s)
            else:
                lane.put(message)

    def _is_cut_by(self, message: Message) -> bool:
        if self._left_bytes is None:
            return False
        self._left_bytes -= len(message.data)
        return self._left_bytes < 0

    def request(self, trial: _Attempt, side: int, data: bytes) -> bytes:
        """Carry a command there and its answer back; either may be lost."""
        self._carry(trial, side, side, Message(kind=Kind.REQUEST, data=data))
        answer = self._endpoints[1 - side].answer(trial.ends[1 - side], data)
        self._carry(trial, 1 - side, side, Message(kind=Kind.ANSWER, data=answer))
        return answer

    def _carry(self, trial: _Attempt, sender: int, asker: int, message: Message) -> None:
        """Return when the message has arrived; raise when the asker knows that it won't."""
        with self._lock:
            trial.waiting[asker].add(message)
        try:
            try:
                self.send(trial, sender, message)
            except PathLostError:  # its sender knows; the asker may not yet
                self._notice_later(trial)
            if trial.told[asker]:
                message.over.set()
            message.over.wait()
        finally:
            with self._lock:
                trial.waiting[asker].discard(message)
        if not message.arrived:
            raise PathLostError("the path was lost", hint="restore the path")

    def _deliver(self, trial: _Attempt, side: int, message: Message) -> None:
        """Let a message of one side arrive at the other."""
        if message.kind is Kind.NOTICE:
            self.lose(trial)
        elif message.kind in {Kind.REQUEST, Kind.ANSWER}:  # goes on in the asker's thread
            message.arrived = True
            message.over.set()
        else:
            try:
                self._hand_over(self._endpoints[1 - side], trial.ends[1 - side], message)
            except PyrepError as error:
                _log.info("path.refused %s of attempt %d: %s", message.kind, trial.number, error)
                self.lose(trial)

    def _hand_over(self, endpoint: Endpoint, connection: Connection, message: Message) -> None:
        match message.kind:
            case Kind.FRAME:
                endpoint.take_frame(connection, message.data)
            case Kind.ACK:
                endpoint.take_ack(connection, message.data)
            case Kind.REQUEST:
                endpoint.answer(connection, message.data)
            case _:
                raise PathLostError("nobody waits for it")

    def _keep_late(self, trial: _Attempt, side: int, message: Message) -> None:
        if message.kind is not Kind.NOTICE:
            self._late.append((1 - side, trial.ends[1 - side], message))

    # --- the end of an attempt -------------------------------------------------------------------

    def lose(self, trial: _Attempt) -> None:
        """End an attempt, unless it has ended or is about to."""
        self._silence(trial)
        for side in (0, 1):
            self._tell(trial, side)

    def lose_at(self, side: int) -> None:
        """End the present attempt; when it fell silent before, only one side takes notice."""
        trial = self._trial
        if trial is None:
            return
        if trial.silent:
            self._tell(trial, side)
        else:
            self.lose(trial)
        trial.wait_got_over()

    def _silence(self, trial: _Attempt) -> None:
        with self._lock:
            if trial.silent:
                return
            trial.silent = True
            self._past.append(trial)
        self.clock.poke()
        for (side, _), lane in trial.lanes.items():
            lane.poke()
            for message in lane.take_rest():
                self._keep_late(trial, side, message)

    def _tell(self, trial: _Attempt, side: int) -> None:
        """Tell a side that the attempt is gone; what waits there goes on."""
        with trial.got_over:
            if trial.told[side]:
                return
            trial.told[side] = True
            trial.being_told += 1
        with self._lock:
            waiting = list(trial.waiting[side])
        for message in waiting:
            message.over.set()
        try:
            self._endpoints[side].path_down(trial.ends[side])
        finally:
            with trial.got_over:
                trial.being_told -= 1
                trial.got_over.notify_all()

    def _notice_later(self, trial: _Attempt) -> None:
        """Somebody sent into silence: both sides find out in a while."""
        with self._lock:
            if trial.noticing or trial.is_over:
                return
            trial.noticing = True
        due_s = self.clock.now_s + self._notice_s

        def notice() -> None:
            self.clock.wait_until(due_s, lambda: trial.is_over)
            self.lose(trial)

        threading.Thread(target=notice, name="path notice", daemon=True).start()


class PathEnd:
    """One system's end of a simulated path."""

    def __init__(self, path: SimulatedPath, side: int) -> None:
        self._path = path
        self._side = side

    def close(self) -> None:
        """Lose the path; one that had fallen silent only at this end, as when a system crashes."""
        self._path.lose_at(self._side)


def connect_simulated(
    one: StorageSystem,
    other: StorageSystem,
    *,
    seed: int = 0,
    latency_s: tuple[float, float] = (0.0, 0.005),
    notice_s: float = 6.0,
) -> SimulatedPath:
    """Connect two systems of this process by a simulated path; it is up on return.

    Each system closes its end when it closes. See `SimulatedPath`.
    """
    path = SimulatedPath(
        one.endpoint, other.endpoint, seed=seed, latency_s=latency_s, notice_s=notice_s
    )
    path.connect()
    for system in (one, other):
        system.add_path(path.end_of(system.system_id))
    return path
