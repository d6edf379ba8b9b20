"""Records what this version puts on the path: `python tests/recorded/record.py`, at each release.

One line a message: kind of envelope, then the body in hex. One of each command, answer and message
of the handshake, and a few frames. Recordings of released versions stay as they are.
"""

from __future__ import annotations

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
from pyrep.workflows import backup
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


if __name__ == "__main__":
    (HERE / f"protocol-{PROTOCOL_VERSION}.txt").write_text("\n".join(record()) + "\n")
