from __future__ import annotations

import errno
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtensionOID, NameOID

from pyrep._core import tls as core_tls
from pyrep.errors import (
    InvalidArgumentError,
    MissingLibraryError,
    PathLostError,
    PyrepError,
    WireError,
)
from pyrep.interconnect import Channel, Plain, Security, Tls
from pyrep.interconnect import pki as authority_of
from pyrep.interconnect import tls as tls_of
from pyrep.interconnect.envelope import Kind, seal_envelope
from pyrep.interconnect.pki import issue_certificate, make_authority
from pyrep.model import SystemId

PATIENCE_S = 30.0
B = SystemId("100b")


def tls(directory: Path, system_id: str, **options: object) -> Tls:
    """Return the security of a system whose certificate is issued now."""
    if not (directory / "authority.pem").exists():
        make_authority(directory)
    issued = issue_certificate(directory, system_id, replace=True)
    return Tls(
        certificate=issued.certificate,
        key=issued.key,
        authority=directory / "authority.pem",
        **options,  # type: ignore[arg-type]
    )


def meet(
    client: Security, server: Security, expected: SystemId = B
) -> tuple[Channel | PyrepError, Channel | PyrepError]:
    """Let two sides shake hands; return what each of them got."""
    near, far = socket.socketpair()
    for one in (near, far):
        one.settimeout(PATIENCE_S)
    got: list[Channel | PyrepError] = []

    def serve() -> None:
        try:
            got.append(server.server(far))
        except PyrepError as error:
            got.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    answer: Channel | PyrepError
    try:
        answer = client.client(near, expected)
    except PyrepError as error:
        answer = error
    thread.join(PATIENCE_S)
    return answer, got[0]


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[Channel, Channel]]:
    near, far = meet(tls(tmp_path, "100a"), tls(tmp_path, "100b"))
    assert not isinstance(near, PyrepError), near
    assert not isinstance(far, PyrepError), far
    yield near, far
    near.free()
    far.free()


def take(channel: Channel, length: int) -> bytes:
    """Receive so many bytes."""
    data = bytearray(length)
    at = 0
    while at < length:
        at += channel.recv_into(memoryview(data)[at:])
    return bytes(data)


def test_both_sides_know_who_is_there(ends: tuple[Channel, Channel]) -> None:
    assert [one.peer_id for one in ends] == ["100b", "100a"]


def test_both_sides_send_much_at_once_and_lose_nothing(ends: tuple[Channel, Channel]) -> None:
    data = [random.Random(seed).randbytes(3_000_000) for seed in (1, 2)]
    got: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda i=i: ends[i].send_all(data[i][:10], data[i][10:]))
        for i in (0, 1)
    ]
    threads += [
        threading.Thread(target=lambda i=i: got.__setitem__(i, take(ends[i], 3_000_000)))
        for i in (0, 1)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE_S)
    assert got == {0: data[1], 1: data[0]}


@pytest.mark.parametrize("sizes", [(32, 0), (32, 300_000), (600_000, 0), (1 << 18,), (0, 1 << 19)])
def test_pieces_of_any_sizes_arrive_whole(
    ends: tuple[Channel, Channel], sizes: tuple[int, ...]
) -> None:
    data = [random.Random(size).randbytes(size) for size in sizes]
    thread = threading.Thread(target=lambda: ends[0].send_all(*data))
    thread.start()
    assert take(ends[1], sum(sizes)) == b"".join(data)
    thread.join(PATIENCE_S)


def test_closing_wakes_who_receives_and_who_sends(ends: tuple[Channel, Channel]) -> None:
    near, _ = ends
    ended: list[str] = []

    def until_lost(call: object) -> None:
        try:
            while True:
                call()  # type: ignore[operator]
        except PathLostError:
            ended.append("lost")

    threads = [
        threading.Thread(
            target=until_lost, args=(lambda: near.recv_into(memoryview(bytearray(9))),)
        ),
        threading.Thread(target=until_lost, args=(lambda: near.send_all(bytes(1 << 20)),)),
    ]
    for one in threads:
        one.start()
    near.close()
    for one in threads:
        one.join(PATIENCE_S)
    assert ended == ["lost", "lost"]


def test_the_other_side_learns_of_the_end(ends: tuple[Channel, Channel]) -> None:
    ends[0].free()
    with pytest.raises(PathLostError):
        ends[1].recv_into(memoryview(bytearray(1)))


def test_another_system_than_the_one_dialled_is_refused(tmp_path: Path) -> None:
    near, far = meet(tls(tmp_path, "100a"), tls(tmp_path, "100c"))
    assert isinstance(near, WireError)
    assert "certificate of system 100c" in str(near)
    assert not isinstance(far, PyrepError)
    with pytest.raises(PathLostError):
        far.recv_into(memoryview(bytearray(1)))
    far.free()


def test_a_certificate_of_another_authority_is_refused_by_both(tmp_path: Path) -> None:
    near, far = meet(tls(tmp_path / "one", "100a"), tls(tmp_path / "other", "100b"))
    assert isinstance(near, WireError)
    assert "cannot trust system 100b" in str(near)
    assert isinstance(far, PyrepError)


def test_a_client_of_another_authority_gets_nothing(tmp_path: Path) -> None:
    stranger = tls(tmp_path / "other", "100a")
    server = tls(tmp_path / "one", "100b")
    # It would trust this server: only the server's own check is left.
    stranger._configs[0].trust((tmp_path / "one" / "authority.pem").read_bytes())
    near, far = meet(stranger, server)
    assert isinstance(far, WireError)
    assert "cannot trust whoever dialled" in str(far)
    if not isinstance(near, PyrepError):  # TLS 1.3: the client learns of it when it reads
        with pytest.raises(PathLostError):
            near.recv_into(memoryview(bytearray(1)))
        near.free()


def test_an_expired_certificate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = authority_of._valid

    def long_ago(
        builder: x509.CertificateBuilder, days: int, *, at_most: datetime | None = None
    ) -> x509.CertificateBuilder:
        made = real(builder, days, at_most=at_most)
        made._not_valid_before = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=9)
        made._not_valid_after = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=1)
        return made

    server = tls(tmp_path, "100b")
    monkeypatch.setattr(authority_of, "_valid", long_ago)
    client = tls(tmp_path, "100a")
    near, far = meet(client, server)
    assert isinstance(far, WireError)
    assert "expired" in str(far)
    if not isinstance(near, PyrepError):
        near.free()


def test_a_denied_system_is_refused(tmp_path: Path) -> None:
    near, far = meet(tls(tmp_path, "100a"), tls(tmp_path, "100b", denied=["100a"]))
    assert isinstance(far, WireError)
    assert "100a, which is denied" in str(far)
    assert not isinstance(near, PyrepError)
    near.free()


def test_an_authoritys_certificate_is_no_systems(tmp_path: Path) -> None:
    server = tls(tmp_path, "100b")
    client = Tls(
        certificate=tmp_path / "authority.pem",
        key=tmp_path / "authority.key",
        authority=tmp_path / "authority.pem",
    )
    near, far = meet(client, server)
    assert isinstance(far, WireError)
    if not isinstance(near, PyrepError):
        near.free()


def test_a_plain_client_is_told_apart(tmp_path: Path) -> None:
    near_sock, far_sock = socket.socketpair()
    far_sock.settimeout(PATIENCE_S)
    near = Plain().client(near_sock, B)
    near.send_all(b"\x02" * 64)
    with pytest.raises(WireError, match="cannot agree on TLS"):
        tls(tmp_path, "100b").server(far_sock)
    near.free()


def test_a_plain_server_is_told_apart(tmp_path: Path) -> None:
    near_sock, far_sock = socket.socketpair()
    near_sock.settimeout(PATIENCE_S)
    far = Plain().server(far_sock)
    far.send_all(seal_envelope(Kind.REFUSE, 0, 40), bytes(40))
    with pytest.raises(WireError) as caught:
        tls(tmp_path, "100a").client(near_sock, B)
    assert caught.value.hint is not None
    assert "is it set to plain" in caught.value.hint
    far.free()


def test_files_are_read_again_on_demand_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    client, server = tls(tmp_path, "100a"), tls(tmp_path, "100b")
    (tmp_path / "100a.pem").write_text("nothing")
    with pytest.raises(InvalidArgumentError, match=r"100a\.pem"):
        client.reload()
    near, far = meet(client, server)
    assert not isinstance(near, PyrepError)
    assert not isinstance(far, PyrepError)
    near.free()
    far.free()
    issue_certificate(tmp_path, "100c", replace=True)
    (tmp_path / "100a.pem").write_bytes((tmp_path / "100c.pem").read_bytes())
    (tmp_path / "100a.key").write_bytes((tmp_path / "100c.key").read_bytes())
    client.reload()
    near, far = meet(client, server)
    assert not isinstance(far, PyrepError)
    assert far.peer_id == "100c"
    far.free()
    if not isinstance(near, PyrepError):
        near.free()


def test_a_key_that_is_encrypted_is_named_as_that(tmp_path: Path) -> None:
    tls(tmp_path, "100a")
    plain = load_pem_private_key((tmp_path / "100a.key").read_bytes(), None)
    sealed = plain.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (tmp_path / "100a.key").write_bytes(sealed)
    with pytest.raises(InvalidArgumentError, match="the private key is encrypted") as caught:
        Tls(
            certificate=tmp_path / "100a.pem",
            key=tmp_path / "100a.key",
            authority=tmp_path / "authority.pem",
        )
    assert caught.value.hint == "keep it unencrypted, readable by this user alone"


def test_without_openssl_the_package_to_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoLibrary:
        @staticmethod
        def rep_tls_config_new(is_server: bool, out: object) -> int:  # noqa: ARG004
            return -errno.ENOSYS

    monkeypatch.setattr(core_tls, "lib", NoLibrary)
    with pytest.raises(MissingLibraryError, match=r"libssl\.so\.3") as caught:
        tls(tmp_path, "100a")
    assert caught.value.hint == "install it (Debian: libssl3, Fedora: openssl-libs)"


def test_who_is_not_trusted_is_told_why_when_it_reads(tmp_path: Path) -> None:
    stranger = tls(tmp_path / "other", "100a")
    server = tls(tmp_path / "one", "100b")
    stranger._configs[0].trust((tmp_path / "one" / "authority.pem").read_bytes())
    near, _ = meet(stranger, server)
    assert not isinstance(near, PyrepError)  # TLS 1.3: it has agreed before the server has looked
    with pytest.raises(PathLostError, match="unknown ca") as caught:
        near.recv_into(memoryview(bytearray(1)))
    assert caught.value.hint is not None
    assert "other system's log" in caught.value.hint
    near.free()


def self_signed(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
) -> x509.Certificate:
    """Return a certificate as pyrep pki makes none."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    for one in extensions:
        builder = builder.add_extension(one, critical=False)
    return builder.sign(key, hashes.SHA256())


_SHOW_WEAK = """
import sys
from pathlib import Path
from pyrep._core import TlsConfig, TlsProblem
config = TlsConfig(is_server=True)
try:
    config.show(*(Path(one).read_bytes() for one in sys.argv[1:]))
except TlsProblem as problem:
    print(problem.why)
"""


def test_what_this_machine_allows_everybody_lets_no_weak_key_in(tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 (that is it)
    certificate = self_signed(key)
    shown, secret = tmp_path / "weak.pem", tmp_path / "weak.key"
    shown.write_bytes(certificate.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    settings = tmp_path / "openssl.cnf"
    settings.write_text(
        "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = lax\n"
        "[lax]\nCipherString = DEFAULT@SECLEVEL=0\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", _SHOW_WEAK, shown, secret],
        env={**os.environ, "OPENSSL_CONF": str(settings)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "ee key too small\n"


@pytest.mark.parametrize("names", ["3004a3023000", "3004a5023000", "ff"])
def test_a_certificate_with_names_that_cannot_be_read_is_no_systems(names: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    extension = x509.UnrecognizedExtension(
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex(names)
    )
    certificate = self_signed(key, extension)
    with pytest.raises(WireError, match="no system's"):
        tls_of._identity(certificate.public_bytes(Encoding.DER), "somebody")


@pytest.mark.parametrize("missing", ["certificate", "key", "authority"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, missing: str) -> None:
    tls(tmp_path, "100a")
    files = {
        "certificate": tmp_path / "100a.pem",
        "key": tmp_path / "100a.key",
        "authority": tmp_path / "authority.pem",
    }
    files[missing] = tmp_path / "nowhere.pem"
    with pytest.raises(InvalidArgumentError, match=r"nowhere\.pem"):
        Tls(**files)  # type: ignore[arg-type]
