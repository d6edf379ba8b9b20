"""The core's TLS before a peer that is none of ours: Python's ssl, and records made by hand."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from pyrep.errors import PathLostError
from pyrep.interconnect import Channel, Tls
from pyrep.interconnect.pki import AUTHORITY_CERTIFICATE, issue_certificate, make_authority

PATIENCE_S = 30.0
DATA, HANDSHAKE = 23, 22
KEY_UPDATE, ASKS_FOR_OURS = b"\x18\0\0\1", b"\1"


class Peer:
    """A client that dials our server; after the handshake it may write its records by hand."""

    def __init__(self, directory: Path) -> None:
        make_authority(directory)
        ours, theirs = (issue_certificate(directory, name) for name in ("100b", "100a"))
        authority = directory / AUTHORITY_CERTIFICATE
        server = Tls(certificate=ours.certificate, key=ours.key, authority=authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(authority)
        context.load_cert_chain(theirs.certificate, theirs.key)
        log = directory / "secrets"
        context.keylog_filename = str(log)
        near, far = socket.socketpair()
        for one in (near, far):
            one.settimeout(PATIENCE_S)
        met: list[Channel] = []
        thread = threading.Thread(target=lambda: met.append(server.server(far)))
        thread.start()
        self.tls = context.wrap_socket(near)
        thread.join(PATIENCE_S)
        (self.ours,) = met
        self._wire = socket.socket(fileno=self.tls.fileno())
        self._wire.settimeout(PATIENCE_S)
        said = re.search(r"CLIENT_TRAFFIC_SECRET_0 \w+ (\w+)", log.read_text())
        assert said is not None
        self._use(bytes.fromhex(said.group(1)))

    def _use(self, secret: bytes) -> None:
        self._secret, self._sequence = secret, 0
        self._key = AESGCM(self._derive(b"key", 32 if len(secret) == 48 else 16))
        self._iv = self._derive(b"iv", 12)

    def _derive(self, label: bytes, length: int) -> bytes:
        name = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
        digest = hashes.SHA384() if len(self._secret) == 48 else hashes.SHA256()
        return HKDFExpand(digest, length, info).derive(self._secret)

    def record(self, kind: int, data: bytes) -> None:
        """Send one record."""
        inner = data + bytes([kind])
        head = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = (int.from_bytes(self._iv, "big") ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        self._wire.sendall(head + self._key.encrypt(nonce, inner, head))

    def renew(self) -> None:
        """Renew the keys that this side sends with, and ask the other to do so."""
        self.record(HANDSHAKE, KEY_UPDATE + ASKS_FOR_OURS)
        self._use(self._derive(b"traffic upd", len(self._secret)))

    def drop(self) -> None:
        """Take what comes and look at none of it, until the other side has closed."""
        while self._wire.recv(1 << 16):
            pass

    def close(self) -> None:
        self.ours.free()
        self._wire.detach()
        self.tls.close()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    made = Peer(tmp_path)
    yield made
    made.close()


def take(channel: Channel, length: int) -> bytes:
    data = bytearray(length)
    channel.fill(memoryview(data))
    return bytes(data)


def send_until_lost(channel: Channel) -> None:
    while True:
        channel.send_all(b"and again")


def test_it_speaks_with_another_implementation(peer: Peer) -> None:
    sent = bytes(range(256)) * 400
    threading.Thread(target=lambda: peer.tls.sendall(sent)).start()
    assert take(peer.ours, len(sent)) == sent
    threading.Thread(target=lambda: peer.ours.send_all(sent[:32], sent[32:])).start()
    got = bytearray()
    while len(got) < len(sent):
        got += peer.tls.recv(65536)
    assert bytes(got) == sent


def test_keys_that_the_peer_renews_are_followed_and_ours_renewed_when_it_asks(peer: Peer) -> None:
    for number in range(3):
        peer.renew()
        peer.record(DATA, b"sent %d" % number)
        assert take(peer.ours, 6) == b"sent %d" % number
        peer.ours.send_all(b"back %d" % number)
        assert peer.tls.recv(6) == b"back %d" % number


def test_a_message_of_tls_that_is_half_here_is_not_read_on_by_who_sends(peer: Peer) -> None:
    lost: list[PathLostError] = []

    def receive() -> None:
        try:
            take(peer.ours, 1)
        except PathLostError as error:
            lost.append(error)

    # What is sent until then is to go somewhere: a sender that waits for room never notices.
    threads = [threading.Thread(target=job) for job in (receive, peer.drop)]
    for one in threads:
        one.start()
    try:
        peer.record(HANDSHAKE, KEY_UPDATE)  # its body is to come in another record
        with pytest.raises(PathLostError, match="the other side told half a message"):
            send_until_lost(peer.ours)  # until what came has been looked at
    finally:
        peer.ours.close()
        for one in threads:
            one.join()
    assert len(lost) == 1


@pytest.mark.parametrize("kind", [20, 21, 24])
def test_a_record_that_nobody_sends_ends_it(peer: Peer, kind: int) -> None:
    peer.record(kind, b"\x01\x02")
    with pytest.raises(PathLostError):
        take(peer.ours, 1)
