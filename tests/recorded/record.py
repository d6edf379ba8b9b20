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
from collections.abc import Callable
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pyrep.interconnect import Plain
from pyrep.interconnect.envelope import Kind
from pyrep.interconnect.messages import PROTOCOL_VERSION
from pyrep.model import Compare, Direction
from pyrep.testing import wait_until
from pyrep.workflows import backup
from recorded.tap import Heard, Tap
from rig import LONG_S, content
from unit.engine.test_tcp import QUICK, TcpRig

HERE = Path(__file__).parent


class TappedRig(TcpRig):
    """The rig's systems with a tap between them."""

    def __init__(self, root: Path, heard: Callable[[Heard], None]) -> None:
        super().__init__(root)
        self._heard = heard

    def dial(self) -> None:
        address = self.listener.address
        self._tap = Tap(str(address.host), address.port, self._heard)
        self.dialled = self.a.dial("100b", self._tap.address, security=Plain(), timing=QUICK)

    def close(self) -> None:
        super().close()
        self._tap.close()


def record() -> list[str]:
    """Return the lines."""
    found: dict[tuple[Kind, str], str] = {}

    def heard(one: Heard) -> None:
        kind, what = one.envelope.kind, ""
        if kind in {Kind.COMMAND, Kind.ANSWER}:
            said = msgspec.msgpack.decode(one.body[8:])
            what = f"{said['type']} {said.get('verb', '')}"
        elif kind is Kind.FRAME and len(one.body) > 40_000:
            what = "long"
        line = f"{kind.name} {one.body.hex()}" if what != "long" else ""
        found.setdefault((kind, what), line)

    with tempfile.TemporaryDirectory() as scratch:
        rig = TappedRig(Path(scratch), heard)
        rig.build_tcp()
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

    def heard(one: Heard) -> None:
        kind = one.envelope.kind
        if kind in {Kind.OPEN_CONTROL, Kind.OPEN_DATA}:
            lanes[one.connection] = "control" if kind is Kind.OPEN_CONTROL else "data"
        who = "100a" if one.by_client else "100b"
        lane = lanes[one.connection]
        lines.append(f"{who} {lane} {kind.name} {one.envelope.tag} {one.body.hex()}")

    with tempfile.TemporaryDirectory() as scratch:
        rig = TappedRig(Path(scratch), heard)
        rig.make("100a", "105a", size=SESSION_BYTES)
        rig.make("100b", "105b", size=SESSION_BYTES)
        for system in rig.systems.values():
            system._watch.close()
        rig.pvol.pwrite(b"first" * 1000, 4096)
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
        held = hashlib.sha256(content(rig.spvol)).hexdigest()
        rig.close()
    return [f"{SESSION_BYTES} {held}", *lines]


if __name__ == "__main__":
    (HERE / f"protocol-{PROTOCOL_VERSION}.txt").write_text("\n".join(record()) + "\n")
    (HERE / f"protocol-{PROTOCOL_VERSION}-session.txt").write_text(
        "\n".join(record_session()) + "\n"
    )
