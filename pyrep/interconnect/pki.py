"""A small authority of one's own, and the certificates of systems that it issues.

ECDSA on P-256: what every TLS 1.3 library has, and signs quickly. An authority is a directory with
its certificate, which every system needs, and its key, which belongs on neither of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pyrep.errors import (
    DeviceError,
    ExistsError,
    InvalidArgumentError,
    NotFoundError,
    ReadOnlyError,
)
from pyrep.interconnect.tls import IDENTITY_PREFIX
from pyrep.model.ids import SystemId, check_id

__all__ = [
    "AUTHORITY_CERTIFICATE",
    "AUTHORITY_KEY",
    "CertificateFacts",
    "Issued",
    "issue_certificate",
    "make_authority",
    "read_certificate",
    "read_certificates",
]

AUTHORITY_CERTIFICATE = "authority.pem"
AUTHORITY_KEY = "authority.key"

_BACKDATE = timedelta(hours=1)
"""Clocks of two sites differ: what is issued now must be valid there, too."""
_DAYS_MOST = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What a certificate says.

    Attributes:
        system_id: whose it is; None: an authority's, or no system's.
        subject: its name.
        is_authority: whether it may issue others.
        not_before, not_after: its validity.
        sha256: its fingerprint, in hexadecimal digits.
    """

    system_id: SystemId | None
    subject: str
    is_authority: bool
    not_before: datetime
    not_after: datetime
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """The files of a certificate that was made."""

    certificate: Path
    key: Path


def make_authority(directory: Path, *, name: str = "pyrep", days: int = 3650) -> Issued:
    """Make an authority in a directory, which may be there already, without one.

    Args:
        directory: made if it isn't there, for this user alone.
        name: what people see in its certificate.
        days: how long it is valid.

    Raises:
        ExistsError: there is one; nothing was changed.
        InvalidArgumentError: it can't be valid for so long.
        ReadOnlyError, DeviceError: nothing usable was made.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])
    builder = _valid(x509.CertificateBuilder(), days).subject_name(names).issuer_name(names)
    builder = (
        builder.public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    with _writing(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Issued(certificate=directory / AUTHORITY_CERTIFICATE, key=directory / AUTHORITY_KEY)
    _write_pair(made, certificate, key, replace=False)
    return made


def issue_certificate(
    authority: Path,
    system_id: str,
    *,
    days: int = 825,
    directory: Path | None = None,
    replace: bool = False,
) -> Issued:
    """Make a key, and a certificate that says it is a system's.

    Args:
        authority: the authority's directory.
        system_id: whose.
        days: how long it is valid; never longer than the authority.
        directory: where SYSTEM-ID.pem and SYSTEM-ID.key go; None: the authority's directory.
        replace: whether files of these names are replaced. The key file has both keys then until
            the certificate has its name: whoever loads the two (`Tls`) finds a pair at any moment,
            also after a crash.

    Raises:
        NotFoundError: there is no authority.
        ExistsError: a file is there already; nothing was changed.
        InvalidArgumentError: the id can't be used, or the time, or the authority's files.
        ReadOnlyError, DeviceError: nothing usable was made.
    """
    check_id("system", system_id)
    issuer, issuer_key = _read_authority(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, system_id)])
    builder = _valid(x509.CertificateBuilder(), days, at_most=issuer.not_valid_after_utc)
    identifier = x509.UniformResourceIdentifier(IDENTITY_PREFIX + system_id)
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        builder.subject_name(names)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName([identifier]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(issued_by, critical=False)
    )
    certificate = builder.sign(issuer_key, hashes.SHA256())
    where = directory or authority
    made = Issued(certificate=where / f"{system_id}.pem", key=where / f"{system_id}.key")
    _write_pair(made, certificate, key, replace=replace)
    return made


def read_certificate(path: Path) -> CertificateFacts:
    """Return what a certificate in a PEM file says; whether it is to be trusted, it doesn't.

    Raises:
        NotFoundError: there is no such file.
        InvalidArgumentError: it holds no certificate.
    """
    return _facts_of(_load_certificate(path))


def read_certificates(path: Path) -> tuple[CertificateFacts, ...]:
    """Return what each certificate in a PEM file says, in their order: an authority's may be two.

    Raises as `read_certificate`.
    """
    try:
        return tuple(map(_facts_of, x509.load_pem_x509_certificates(_read(path))))
    except ValueError as error:
        raise InvalidArgumentError(
            f"{path} holds no certificate", hint="name a PEM file that pyrep pki has made"
        ) from error


def _facts_of(certificate: x509.Certificate) -> CertificateFacts:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    ids = [one.removeprefix(IDENTITY_PREFIX) for one in uris if one.startswith(IDENTITY_PREFIX)]
    try:
        limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        is_authority = limits.ca
    except x509.ExtensionNotFound:
        is_authority = False
    return CertificateFacts(
        system_id=SystemId(ids[0]) if len(ids) == 1 else None,
        subject=certificate.subject.rfc4514_string(),
        is_authority=is_authority,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def _valid(
    builder: x509.CertificateBuilder, days: int, *, at_most: datetime | None = None
) -> x509.CertificateBuilder:
    if not 1 <= days <= _DAYS_MOST:
        raise InvalidArgumentError(
            f"a certificate can't be valid for {days!r} days", hint=f"1 to {_DAYS_MOST}"
        )
    now = datetime.now(UTC).replace(microsecond=0)
    until = now + timedelta(days=days)
    if at_most is not None:
        if at_most <= now:
            raise InvalidArgumentError(
                f"the authority's certificate was valid until {at_most:%Y-%m-%d}",
                hint="make a new authority, and issue every system's certificate anew",
            )
        until = min(until, at_most)
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(until)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _read_authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = _load_certificate(directory / AUTHORITY_CERTIFICATE)
    path = directory / AUTHORITY_KEY
    try:
        key = serialization.load_pem_private_key(_read(path), None)
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError(
            f"{path} holds no private key that can be used",
            hint="put it back from a copy of the authority, or make a new one: docs/site-lost.md",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidArgumentError(
            f"{path} holds a key of another kind than pyrep makes",
            hint="name the authority's directory: pyrep pki init makes one",
        )
    if certificate.public_key() != key.public_key():
        raise InvalidArgumentError(
            f"{path} isn't the key of {directory / AUTHORITY_CERTIFICATE}",
            hint="put both back from one copy, or make a new authority: docs/site-lost.md",
        )
    return certificate, key


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as error:
        raise InvalidArgumentError(
            f"{path} holds no certificate", hint="name a PEM file that pyrep pki has made"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(
            f"there is no {path}", hint="pyrep pki init makes an authority"
        ) from error
    except OSError as error:
        raise DeviceError(
            f"cannot read {path}: {error.strerror}",
            errno_code=error.errno,
            hint="let this user read it",
        ) from error


def _write_pair(
    made: Issued, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, replace: bool
) -> None:
    for path in (made.certificate, made.key):
        if path.exists() and not replace:
            raise ExistsError(
                f"{path} is there already", hint="name another directory, or replace it: --force"
            )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    old = _read(made.key) if made.key.exists() else b""
    with _part(made.key, secret, 0o600) as new_key, _part(made.certificate, public, 0o644) as new:
        # Both are on the disk whole, so that nothing but renames stands between the names.
        _sync_directory_of(made.key)
        if old:
            _replace_pair(made, new_key, new, both_keys=old + secret)
        else:
            with _undone(made.key):
                _name(new_key, made.key, replace=replace)
                _name(new, made.certificate, replace=replace)
        _sync_directory_of(made.key)


def _replace_pair(made: Issued, new_key: Path, new: Path, *, both_keys: bytes) -> None:
    """Replace key and certificate: a load at any moment, or after a crash, finds a pair."""
    with _part(made.key, both_keys, 0o600, suffix="both") as both, _undone(made.key):
        _name(both, made.key, replace=True)
        _sync_directory_of(made.key)
        _name(new, made.certificate, replace=True)
    _sync_directory_of(made.key)
    _name(new_key, made.key, replace=True)


@contextlib.contextmanager
def _part(path: Path, data: bytes, mode: int, *, suffix: str = "part") -> Iterator[Path]:
    """Write a file's content below another name; it never has a wider mode than `mode`."""
    part = path.with_name(f".{path.name}.{suffix}")
    try:
        with _writing(path):
            part.unlink(missing_ok=True)
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                os.write(file, data)
                os.fsync(file)
            finally:
                os.close(file)
        yield part
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _undone(path: Path) -> Iterator[None]:
    """Leave a file as it was, or not there, if what is done inside fails."""
    old = path.with_name(f".{path.name}.old")
    with _writing(path):
        old.unlink(missing_ok=True)
        if path.exists():
            os.link(path, old)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            if old.exists():
                old.replace(path)
            else:
                path.unlink(missing_ok=True)
        raise
    finally:
        with contextlib.suppress(OSError):
            old.unlink(missing_ok=True)


def _name(part: Path, path: Path, *, replace: bool) -> None:
    """Give a file its name."""
    with _writing(path):
        if replace:
            part.replace(path)
        else:
            os.link(part, path)  # unlike a rename, it never replaces


def _sync_directory_of(path: Path) -> None:
    """Make the names in a file's directory durable."""
    with _writing(path):
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise ExistsError(
            f"{path} is there already",
            hint="somebody makes it at this moment: name another directory, or replace it: --force",
        ) from error
    except PermissionError as error:
        raise ReadOnlyError(
            f"cannot write {path}: {error.strerror}", hint="let this user write there"
        ) from error
    except OSError as error:
        raise DeviceError(
            f"cannot write {path}: {error.strerror}",
            errno_code=error.errno,
            hint="make room there, or name another directory",
        ) from error
