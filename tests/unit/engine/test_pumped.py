"""A path in its steady state, plain or over TLS: no Python for a record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.engine.endpoint import SystemEndpoint
from pyrep.engine.peer import Peer
from pyrep.interconnect.tcp import TcpConnection
from pyrep.model import AckPoint
from rig import LONG_S, equal
from unit.engine.test_tcp import TcpRig
from unit.engine.test_tls_path import TlsRig

_CHUNK = 4096


@pytest.fixture(params=[TcpRig, TlsRig])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TcpRig]:
    kind: type[TcpRig] = request.param
    made = kind(tmp_path).build_tcp()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Python was asked to do for records; it does it all the same."""
    called: list[str] = []
    watched: list[tuple[type, str]] = [
        (SystemEndpoint, "take_frame"),
        (SystemEndpoint, "take_ack"),
        (Peer, "take_frame"),
        (Peer, "take_numbers"),
        (TcpConnection, "send_ack"),
    ]
    for owner, name in watched:
        real = getattr(owner, name)

        def watch(*given: object, real: object = real, name: str = name) -> object:
            called.append(name)
            return real(*given)  # type: ignore[operator]

        monkeypatch.setattr(owner, name, watch)
    return called


@pytest.mark.parametrize("ack", list(AckPoint))
def test_records_are_sent_applied_and_answered_without_python(
    rig: TcpRig, seen: list[str], ack: AckPoint
) -> None:
    pair = rig.remote(ack=ack)
    seen.clear()  # the first frame of a stream: it has just been opened
    for number in range(100):
        rig.pvol.pwrite(bytes([number + 1]) * _CHUNK, number % 16 * _CHUNK)
    rig.pvol.flush()
    pair.wait_marker(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
    assert seen == []
