"""A connection over TCP: a control channel and a data channel of one attempt (Fig. 1, path 150).

The data channel carries frames alone, and who reads it applies them. Everything else goes over the
control channel, so that no acknowledgement waits behind a frame; who reads that one only takes
acknowledgements and answers, and starts a thread for each command: it never waits for the engine.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time

from pyrep._core import Pump
from pyrep.errors import PathLostError, PyrepError, WireError
from pyrep.interconnect.channel import Channel
from pyrep.interconnect.envelope import (
    Envelope,
    Kind,
    open_envelope,
    receive_body,
    seal_envelope,
)
from pyrep.interconnect.garbled import shown
from pyrep.interconnect.messages import PeerFailed, encode
from pyrep.interconnect.timing import PathTiming
from pyrep.model.ids import SystemId
from pyrep.seams import Connection, Endpoint

__all__ = ["TcpConnection"]

_log = logging.getLogger(__name__)

_COMMANDS_MOST = 256
"""Commands of the other system under way at once; it has fewer threads that could ask."""


_COMMAND_BYTES_MOST = 1 << 30
"""Bytes of commands of the other system under way at once, but for one that is longer."""


class _Question:
    """A command that waits for its answer."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.answer: bytes | None = None


class TcpConnection(Connection):
    """One side's end of one attempt. All may be called from any thread.

    Attributes:
        attempt: its number; a higher one supersedes it.
        peer_id: who is there.
        ended: set when both channels have ended and the system has been told.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        peer_id: SystemId,
        attempt: int,
        *,
        control: Channel,
        data: Channel,
        timing: PathTiming,
    ) -> None:
        self.attempt = attempt
        self.peer_id = peer_id
        self.ended = threading.Event()
        self._endpoint = endpoint
        self._control = control
        self._data = data
        self._timing = timing
        self._pump = Pump(data.line, control.line)
        self.pump: object | None = self._pump
        self._lock = threading.Lock()
        self._tags = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._why: PyrepError | None = None
        self._over = threading.Event()
        self._heard_s = time.monotonic()
        self._pinged_s = 0.0
        self._commands = threading.Semaphore(_COMMANDS_MOST)
        self._command_bytes = 0
        self._ponging = threading.Lock()
        jobs = (("frames", self._read_data), ("control", self._read_control))
        self._readers = [
            threading.Thread(target=self._read, args=(job,), name=f"{name} {peer_id}", daemon=True)
            for name, job in jobs
        ]
        self._watcher = threading.Thread(target=self._watch, name=f"ping {peer_id}", daemon=True)

    def start(self) -> None:
        """Begin to take what comes; the system has greeted the other one."""
        for one in (*self._readers, self._watcher):
            one.start()

    @property
    def why(self) -> PyrepError | None:
        """Why it ended, if it has."""
        return self._why

    # --- what the engine asks for ----------------------------------------------------------------

    def send_ack(self, ack: bytes) -> None:
        """Send the numbers of a stream."""
        self._control.send_all(seal_envelope(Kind.ACK, 0, len(ack)), ack)

    def request(self, message: bytes) -> bytes:
        """Send a command and wait for its answer, as long as the other side is there."""
        question = _Question()
        with self._lock:
            self._check_open()
            tag = next(self._tags)
            self._questions[tag] = question
        try:
            self._control.send_all(seal_envelope(Kind.COMMAND, tag, len(message)), message)
            question.answered.wait()
        finally:
            with self._lock:
                self._questions.pop(tag, None)
        if question.answer is None:
            raise self._lost()
        return question.answer

    def close(self) -> None:
        """End the connection; the system is told from its own thread."""
        self.end(PathLostError("the path was cut on this side", hint="restore the path"))

    def end(self, why: PyrepError) -> None:
        """End the connection because of `why`, unless it has ended already."""
        with self._lock:
            if self._why is not None:
                return
            self._why = why
            questions = list(self._questions.values())
        self._over.set()
        self._control.close()
        self._data.close()
        for one in questions:
            one.answered.set()

    def join(self) -> None:
        """Wait until it has ended and the system has been told."""
        self.ended.wait()

    def _check_open(self) -> None:
        if self._why is not None:
            raise self._lost()

    def _lost(self) -> PathLostError:
        why = str(self._why) if self._why else "the path was lost"
        return PathLostError(why, hint="restore the path")

    # --- threads ---------------------------------------------------------------------------------

    def _read(self, job: object) -> None:
        try:
            job()  # type: ignore[operator]
        except PathLostError as error:
            self.end(error)
        except WireError as error:
            if self._why is None:
                _log.warning("path.garbage peer=%s cut off: %s", self.peer_id, shown(error))
            self.end(error)
        except PyrepError as error:
            _log.info("path.ended peer=%s why=%s", self.peer_id, error)
            self.end(error)
        except Exception as error:  # noqa: BLE001 (told to who waits)
            _log.exception("path.failed peer=%s", self.peer_id)
            self.end(
                PathLostError(
                    f"the path was lost: {error!r}",
                    hint="a fault of pyrep's own: the log has it; the path is made anew",
                )
            )
        # Harmless twice; the one that comes last returns when the system has got over it.
        try:
            self._endpoint.path_down(self)
        except Exception:  # noqa: BLE001 (nobody waits for this thread, and the path has to end)
            _log.exception("path.down peer=%s failed", self.peer_id)
        with self._lock:
            self._readers.remove(threading.current_thread())
            last = not self._readers
        if last:
            self._control.free()
            self._data.free()
            self.ended.set()

    def _read_data(self) -> None:
        envelope = open_envelope(self._endpoint.pump_frames(self))
        raise WireError(f"cannot take {envelope.kind.name} where frames come")

    def _hear(self) -> None:
        self._heard_s = time.monotonic()

    def _read_control(self) -> None:
        while True:
            head = self._endpoint.pump_numbers(self)
            envelope, body = receive_body(self._control, head, self._admit, self._hear)
            self._hear()
            match envelope.kind:
                case Kind.ACK:
                    self._endpoint.take_ack(self, body)
                case Kind.NUMBERS:
                    self._endpoint.take_numbers(self, body)
                case Kind.ANSWER:
                    self._take_answer(envelope.tag, body)
                case Kind.COMMAND:
                    self._start_command(envelope, body)
                case Kind.PING:
                    # One at a time: who sends pings and takes no pongs gets no thread for each.
                    if self._ponging.acquire(blocking=False):
                        self._aside("pong", self._pong)
                case _:
                    pass  # a sign of life, as everything is

    def _admit(self, envelope: Envelope) -> None:
        """Say before its body is read that an envelope isn't wanted: it may be long."""
        match envelope.kind:
            case Kind.ANSWER:
                with self._lock:
                    if envelope.tag not in self._questions:
                        raise WireError(
                            f"cannot take an answer to command {envelope.tag}: nobody asked"
                        )
            case Kind.COMMAND:
                with self._lock:
                    under_way = self._command_bytes
                if under_way and under_way + envelope.body_bytes > _COMMAND_BYTES_MOST:
                    raise WireError(f"cannot take more than {under_way} bytes of commands at once")
            case Kind.ACK | Kind.NUMBERS | Kind.PING | Kind.PONG:
                pass
            case _:
                raise WireError(f"cannot take {envelope.kind.name} from a system that is known")

    def _take_answer(self, tag: int, body: bytes) -> None:
        with self._lock:
            question = self._questions.get(tag)
        if question is not None:  # else it was given up meanwhile
            question.answer = body
            question.answered.set()

    def _pong(self) -> None:
        try:
            self._signal(Kind.PONG)
        finally:
            self._ponging.release()

    def _start_command(self, envelope: Envelope, body: bytes) -> None:
        if not self._commands.acquire(blocking=False):
            raise WireError(f"cannot take more than {_COMMANDS_MOST} commands at once")
        with self._lock:
            self._command_bytes += len(body)
        self._aside(f"command {envelope.tag}", lambda: self._command(envelope.tag, body))

    def _command(self, tag: int, body: bytes) -> None:
        try:
            answer = self._answer(body)
            self._control.send_all(seal_envelope(Kind.ANSWER, tag, len(answer)), answer)
        except PathLostError:
            pass  # who asked knows
        except WireError as error:
            if self._why is None:
                _log.warning("path.garbage peer=%s cut off: %s", self.peer_id, shown(error))
            self.end(error)
        finally:
            with self._lock:
                self._command_bytes -= len(body)
            self._commands.release()

    def _answer(self, body: bytes) -> bytes:
        try:
            return self._endpoint.answer(self, body)
        except WireError:
            raise  # it is no command
        except PyrepError as error:
            return encode(PeerFailed.of(error))
        except Exception as error:  # noqa: BLE001 (told to who waits)
            _log.exception("path.command_failed peer=%s", self.peer_id)
            return encode(
                PeerFailed.of(
                    PyrepError(
                        f"the command failed there: {error!r}",
                        hint="this is a fault of pyrep's own: its log has it whole",
                    )
                )
            )

    def _aside(self, name: str, job: object) -> None:
        """Do something that may wait in a thread of its own."""
        title = f"{name} from {self.peer_id}"
        threading.Thread(target=job, name=title, daemon=True).start()  # type: ignore[arg-type]

    def _watch(self) -> None:
        """Find out that nobody is there any more: nothing comes, and a ping isn't answered.

        By what comes over the control channel alone: it may be dead one way while frames come in a
        stream, and whoever asks something would wait until hosts pause. Of the data channel the
        acknowledgements tell: where frames go in vain, the streams are given up.
        """
        timing = self._timing
        asked_s = 0.0
        while not self._over.wait(min(timing.ping_s, timing.ping_timeout_s) / 4):
            now_s = time.monotonic()
            self._heard_s = max(self._heard_s, self._pump.control.heard_s)
            silent_s = now_s - self._heard_s
            if silent_s < timing.ping_s:
                continue
            if asked_s < self._heard_s:
                asked_s = now_s
                # It may have to wait behind a long answer; where nothing is taken any more, the
                # socket's own time-out ends that.
                self._pinged_s = math.inf
                # Not from here: a channel that takes nothing any more would hold this thread.
                self._aside("ping", self._ping)
            elif now_s - self._pinged_s >= timing.ping_timeout_s:
                why = f"the path was lost: system {self.peer_id} gave no sign for {silent_s:.0f} s"
                self.end(PathLostError(why, hint="look after the network or that system"))

    def _ping(self) -> None:
        self._signal(Kind.PING)
        self._pinged_s = time.monotonic()

    def _signal(self, kind: Kind) -> None:
        try:
            self._control.send_all(seal_envelope(kind, 0, 0))
        except PathLostError as error:
            self.end(error)
