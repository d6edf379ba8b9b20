"""A path over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.engine import Volume
from pyrep.interconnect import Tls
from pyrep.interconnect.pki import AUTHORITY_CERTIFICATE, issue_certificate, make_authority
from pyrep.interconnect.tcp import TcpConnection
from pyrep.model import AckPoint, Direction, PairStatus
from pyrep.testing import check_covered, wait_until
from rig import LONG_S, Site, equal, row_of
from unit.engine.test_tcp import QUICK, TcpRig

_SIZE = 24 << 20
_CHUNK = 4096


class TlsRig(TcpRig):
    """The rig's systems with certificates, and volumes of many frames."""

    security: dict[str, Tls]

    def build_tcp(self) -> TlsRig:
        authority = self.root / "authority"
        make_authority(authority)
        self.security = {}
        for system_id in ("100a", "100b"):
            issued = issue_certificate(authority, system_id)
            self.security[system_id] = Tls(
                certificate=issued.certificate,
                key=issued.key,
                authority=authority / AUTHORITY_CERTIFICATE,
            )
        self.make("100a", "105a", size=_SIZE)
        self.make("100b", "105b", size=_SIZE)
        self.listen()
        self.dial()
        self.await_path()
        return self

    def listen(self, address: str = "127.0.0.1:0") -> None:
        self.listener = self.b.listen(address, security=self.security["100b"], timing=QUICK)

    def dial(self) -> None:
        address = str(self.listener.address)
        security = self.security["100a"]
        self.dialled = self.a.dial("100b", address, security=security, timing=QUICK)

    def overwrite(self, volume: Volume, seed: int) -> None:
        """Write all of a volume anew."""
        for offset in range(0, _SIZE, 1 << 20):
            piece = (seed << 8 | offset >> 20).to_bytes(8, "little") * (1 << 17)
            volume.pwrite(piece, offset)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[TlsRig]:
    made = TlsRig(tmp_path).build_tcp()
    try:
        yield made
    finally:
        made.close()


def test_a_copy_over_tls_ends_equal_in_either_direction(rig: TlsRig) -> None:
    pair = rig.remote()
    for direction, volume in ((Direction.FORWARD, rig.pvol), (Direction.REVERSE, rig.spvol)):
        pair.split()
        rig.overwrite(volume, 1)
        job = pair.resync(direction=direction)
        assert job is not None
        job.wait(LONG_S)
        assert row_of(rig.a, pair).status is PairStatus.DUPLEX
        assert equal(rig.pvol, rig.spvol)


@pytest.mark.parametrize("ack", [AckPoint.RECEIVED, AckPoint.DURABLE])
def test_a_host_that_writes_beside_a_copy_is_answered_each_time(rig: TlsRig, ack: AckPoint) -> None:
    pair = rig.remote(ack=ack)
    pair.split()
    rig.overwrite(rig.pvol, 2)
    job = pair.resync()
    assert job is not None
    written = 0
    while not job.is_done or written < 20:
        rig.pvol.pwrite(bytes([written % 251 + 1]) * _CHUNK, written * 7 % 1000 * _CHUNK)
        written += 1
    job.wait(LONG_S)
    assert row_of(rig.a, pair).status is PairStatus.DUPLEX
    assert equal(rig.pvol, rig.spvol)


def test_a_copy_whose_path_is_lost_among_many_frames_goes_on_over_the_next(rig: TlsRig) -> None:
    pair = rig.remote()
    pair.split()
    rig.overwrite(rig.pvol, 3)
    job = pair.resync()
    assert job is not None
    wait_until(lambda: job.done_bytes > 0)
    lost = rig.a.state.peer(rig.b.system_id).in_use()
    assert isinstance(lost, TcpConnection)
    lost.close()
    lost.join()
    check_covered(rig.a, rig.b)
    rig.both(pair, PairStatus.DUPLEX)
    wait_until(lambda: equal(rig.pvol, rig.spvol))


def test_while_the_authority_changes_a_file_of_both_lets_in_certificates_of_either(
    site: Site, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    security = {}
    for name in ("100a", "100b"):  # each still, or already, has a certificate of another authority
        directory = tmp_path / f"authority of {name}"
        directory.mkdir()
        make_authority(directory)
        made = issue_certificate(directory, name)
        with both.open("ab") as file:
            file.write((directory / AUTHORITY_CERTIFICATE).read_bytes())
        security[name] = made
    tls = {
        name: Tls(certificate=made.certificate, key=made.key, authority=both)
        for name, made in security.items()
    }
    a, b = site.make("100a"), site.make("100b")
    listener = b.listen("127.0.0.1:0", security=tls["100b"])
    a.dial("100b", str(listener.address), security=tls["100a"])
    wait_until(lambda: a.endpoint.is_connected(b.system_id))
