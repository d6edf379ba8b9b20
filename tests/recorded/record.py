"""Records what this version puts on the path: `python tests/recorded/record.py`, at each release.

One line a message: kind of envelope, then the body in hex. One of each command, answer and message
of the handshake, and a few frames. Recordings of released versions stay as they are.

`protocol-N-session.txt` is a whole session in its order, as two systems had it: who sends, lane,
kind and tag of the envelope, the body; its first line has what 105b holds at the end.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pyrep.interconnect import tcp
from pyrep.interconnect.channel import PlainChannel
from pyrep.interconnect.envelope import ENVELOPE_BYTES, Kind, open_envelope
from pyrep.interconnect.messages import PROTOCOL_VERSION
from pyrep.model import Compare, Direction
from pyrep.seams import Buffer
from pyrep.testing import wait_until
from pyrep.workflows import backup
from rig import LONG_S, content
from unit.engine.test_tcp import TcpRig

HERE = Path(__file__).parent


def record() -> list[str]:
    """Return the lines."""
    found: dict[tuple[Kind, str], str] = {}
    real = PlainChannel.send_all

    def send_all(self: PlainChannel, *buffers: Buffer) -> None:
        data = b"".join(bytes(one) for one in buffers)
        kind = open_envelope(data[:ENVELOPE_BYTES]).kind
        body = data[ENVELOPE_BYTES:]
        what = ""
        if kind in {Kind.COMMAND, Kind.ANSWER}:
            said = msgspec.msgpack.decode(body[8:])
            what = f"{said['type']} {said.get('verb', '')}"
        elif kind is Kind.FRAME and len(body) > 40_000:
            what = "long"
        found.setdefault((kind, what), f"{kind.name} {body.hex()}" if what != "long" else "")
        real(self, *buffers)

    PlainChannel.send_all = send_all  # type: ignore[method-assign]
    tcp.pump_of = lambda control, data: None  # noqa: ARG005 (what the core sends, nobody here sees)
    with tempfile.TemporaryDirectory() as scratch:
        rig = TcpRig(Path(scratch)).build_tcp()
        pair = rig.remote()
        rig.local()
        backup(rig.a, ["105a"])
        rig.pvol.pwrite(b"recorded", 8192)
        rig.a.remote_pairs.ageing.age(rig.b.system_id, at_once=True)
        pair.split()
        rig.spvol.pwrite(b"back", 65536)
        job = pair.resync(direction=Direction.REVERSE)
        if job is not None:
            job.wait()
        pair.split()
        pair.resync(compare=Compare.XXH3)
        pair.wait(timeout_s=60)
        pair.split()
        pair.dissolve()
        rig.close()
    return sorted(line for line in found.values() if line)


SESSION_BYTES = 1 << 18


def record_session() -> list[str]:
    """Return the lines of a whole session of a remote pair, led by 100a."""
    lines: list[str] = []
    lanes: dict[int, str] = {}
    real, pumps = PlainChannel.send_all, tcp.pump_of

    def send_all(self: PlainChannel, *buffers: Buffer) -> None:
        data = b"".join(bytes(one) for one in buffers)
        envelope = open_envelope(data[:ENVELOPE_BYTES])
        here, there = self._sock.getsockname()[1], self._sock.getpeername()[1]
        is_dialler = there == rig.listener.address.port
        port = here if is_dialler else there
        if envelope.kind in {Kind.OPEN_CONTROL, Kind.OPEN_DATA}:
            lanes[port] = "control" if envelope.kind is Kind.OPEN_CONTROL else "data"
        who = "100a" if is_dialler else "100b"
        body = data[ENVELOPE_BYTES:].hex()
        lines.append(f"{who} {lanes[port]} {envelope.kind.name} {envelope.tag} {body}")
        real(self, *buffers)

    with tempfile.TemporaryDirectory() as scratch:
        rig = TcpRig(Path(scratch))
        rig.make("100a", "105a", size=SESSION_BYTES)
        rig.make("100b", "105b", size=SESSION_BYTES)
        for system in rig.systems.values():
            system._watch.close()
        rig.pvol.pwrite(b"first" * 1000, 4096)
        PlainChannel.send_all = send_all  # type: ignore[method-assign]
        tcp.pump_of = lambda *_: None  # all goes through Python, where it is seen
        try:
            rig.listen()
            rig.dial()
            rig.await_path()
            wait_until(lambda: sum(" ANSWER " in one for one in lines) == 2)  # known pairs
            pair = rig.a.create_remote_pair("105a", "100b", "105b")
            pair.wait(timeout_s=LONG_S)
            rig.pvol.pwrite(b"second" * 500, 20_000)
            rig.pvol.zero(5000, 4096)
            rig.pvol.flush()
            pair.wait_marker(timeout_s=LONG_S)
            pair.split()
            rig.pvol.pwrite(b"third" * 100, 100_000)
            job = pair.resync()
            if job is not None:
                job.wait(LONG_S)
            pair.split()
        finally:
            PlainChannel.send_all, tcp.pump_of = real, pumps  # type: ignore[method-assign]
        held = hashlib.sha256(content(rig.spvol)).hexdigest()
        rig.close()
    return [f"{SESSION_BYTES} {held}", *lines]


if __name__ == "__main__":
    (HERE / f"protocol-{PROTOCOL_VERSION}.txt").write_text("\n".join(record()) + "\n")
    (HERE / f"protocol-{PROTOCOL_VERSION}-session.txt").write_text(
        "\n".join(record_session()) + "\n"
    )
