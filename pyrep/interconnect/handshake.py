"""The handshake of a path over TCP: two channels, one attempt (docs/formats.md).

The dialling side opens the control channel and says who it is; the other one answers with its own
hello, the attempt's number and a token; the data channel is opened with the token, so that nobody
else's socket comes between. Only then both systems greet each other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from pyrep.errors import PathLostError, PyrepError, WireError
from pyrep.interconnect.address import Address
from pyrep.interconnect.channel import Channel, Security, lost
from pyrep.interconnect.envelope import Kind, receive, seal_envelope
from pyrep.interconnect.garbled import shown
from pyrep.interconnect.messages import Hello, decode_plain, encode
from pyrep.interconnect.messages_path import Accept, OpenControl, OpenData, Refuse
from pyrep.interconnect.tcp import TcpConnection
from pyrep.interconnect.timing import PathTiming
from pyrep.model.ids import SystemId
from pyrep.seams import Endpoint

__all__ = ["check_identity", "dial", "prepare", "refuse", "say", "within"]

T = TypeVar("T", bound=msgspec.Struct)

_ENDED = ("the other side ended it", os.strerror(errno.ECONNRESET), os.strerror(errno.EPIPE))

_KEEPALIVE_MOST_S = 32767
"""Linux refuses more: such a path would never come up."""


def prepare(sock: socket.socket, timing: PathTiming) -> None:
    """Set what both ends of every channel have."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer whose host is gone, or whose socket takes nothing any more, ends a send at last.
    patience_ms = int((timing.ping_s + timing.ping_timeout_s) * 1000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience_ms)
    # And one that is gone while nothing is sent, should pings themselves fail.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _keepalive(timing.ping_s))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _keepalive(timing.ping_timeout_s))
    sock.settimeout(timing.connect_s)


def _keepalive(seconds: float) -> int:
    """Return what the kernel takes: whole seconds, up to some hours."""
    return min(max(1, int(seconds)), _KEEPALIVE_MOST_S)


@contextlib.contextmanager
def within(seconds: float, *channels: Channel) -> Iterator[None]:
    """Close the channels if what is done takes longer: whoever waits for bytes then gets away."""

    def close() -> None:
        for one in channels:
            one.close()

    timer = threading.Timer(seconds, close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def say(channel: Channel, kind: Kind, message: msgspec.Struct) -> None:
    """Send one message of the handshake."""
    body = encode(message)
    channel.send_all(seal_envelope(kind, 0, len(body)), body)


def refuse(channel: Channel, error: PyrepError) -> None:
    """Tell the other side why not, and give the channel up."""
    with contextlib.suppress(PathLostError):
        say(channel, Kind.REFUSE, Refuse(message=str(error), hint=error.hint))
    channel.free()


def _asked(channel: Channel, kind: Kind, message: msgspec.Struct) -> Accept:
    """Say it, and wait for the answer.

    What can't be sent any more may have been answered: over TLS who isn't let in learns of it only
    now, by an alert that came before the end.
    """
    with contextlib.suppress(PathLostError):
        say(channel, kind, message)
    return _accepted(channel)


def _accepted(channel: Channel) -> Accept:
    """Wait for the answer. WireError: we were refused, or what came isn't an answer."""
    envelope, body = receive(channel)
    if envelope.kind is Kind.REFUSE:
        why = decode_plain(body, Refuse)
        hint = None if why.hint is None else shown(why.hint)
        raise WireError(f"refused there: {shown(why.message)}", hint=hint)
    if envelope.kind is not Kind.ACCEPT:
        raise WireError(f"cannot take {envelope.kind.name} as the answer of a handshake")
    return decode_plain(body, Accept)


def check_identity(channel: Channel, said: str) -> None:
    """Compare what the transport has proved with what the other side says.

    Raises:
        WireError: it says it is somebody else.
    """
    if channel.peer_id is not None and channel.peer_id != said:
        raise WireError(
            f"system {channel.peer_id}, by its certificate, says that it is {shown(said)}",
            hint="give each system the certificate of its own id",
        )


def _connect(
    address: Address, expected: SystemId, security: Security, timing: PathTiming
) -> Channel:
    try:
        sock = socket.create_connection((address.host, address.port), timing.connect_s)
    except OSError as error:
        why = "nothing came in time" if isinstance(error, TimeoutError) else error.strerror or error
        raise PathLostError(
            f"cannot reach system {expected} at {address}: {why}",
            hint="is it serving there, and does the network let it through?",
        ) from error
    try:
        prepare(sock, timing)
        return security.client(sock, expected)
    except OSError as error:
        sock.close()
        raise lost(error) from error


def dial(
    endpoint: Endpoint,
    expected: SystemId,
    address: Address,
    *,
    security: Security,
    timing: PathTiming,
) -> TcpConnection:
    """Connect to a system; both have greeted each other, nothing is read yet.

    Raises:
        PathLostError: it can't be reached, or went away.
        WireError: it is another system, or refuses.
    """
    with contextlib.ExitStack() as undo:
        control = _connect(address, expected, security, timing)
        undo.callback(control.free)
        with _explained(expected, address), within(timing.connect_s, control):
            asked = OpenControl(hello=endpoint.hello(), attempt=endpoint.attempt_above(expected))
            accept = _asked(control, Kind.OPEN_CONTROL, asked)
        _check_dialled(control, accept, expected, asked.attempt)
        data = _connect(address, expected, security, timing)
        undo.callback(data.free)
        with _explained(expected, address), within(timing.connect_s, data):
            _asked(data, Kind.OPEN_DATA, OpenData(token=accept.token))
        connection = TcpConnection(
            endpoint, expected, accept.attempt, control=control, data=data, timing=timing
        )
        endpoint.greet(connection, accept.hello)
        undo.pop_all()
        return connection


@contextlib.contextmanager
def _explained(expected: SystemId, address: Address) -> Iterator[None]:
    """Say what it usually is when the other side ends a connection without a word.

    It tells no stranger why: who isn't trusted learns nothing, and what is TLS at one end alone
    can't be told at all.
    """
    try:
        yield
    except PathLostError as error:
        # How the end is noticed is chance, and each change of the reason would be logged.
        why = "it ended the connection" if str(error).endswith(_ENDED) else error
        raise PathLostError(
            f"system {expected} at {address} didn't greet: {why}",
            hint="its log says why: it may not trust this system's certificate, have it among the "
            "denied ones, or one of the two is set to plain TCP",
        ) from error


def _check_dialled(channel: Channel, accept: Accept, expected: SystemId, attempt: int) -> None:
    said = decode_plain(accept.hello, Hello).system_id
    check_identity(channel, said)
    if said != expected:
        raise WireError(
            f"system {said} answers where {expected} was dialled", hint="correct the address"
        )
    if accept.attempt < attempt:
        raise WireError(f"cannot take attempt {accept.attempt}: {attempt} was asked for")
