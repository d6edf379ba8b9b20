"""Mutual TLS 1.3 between systems: the identity in a certificate is the system's id."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography import x509

from pyrep._core import TlsConfig, TlsProblem, TlsSession
from pyrep.errors import InvalidArgumentError, PathLostError, PyrepError, WireError
from pyrep.interconnect.channel import Channel, SocketChannel, lost
from pyrep.interconnect.tlshandshake import shake_hands
from pyrep.model.ids import SystemId, check_id

__all__ = ["IDENTITY_PREFIX", "Tls"]

IDENTITY_PREFIX = "urn:pyrep:system:"
"""What stands before the system id in the certificate's subject alternative name (a URI)."""

_KEYS = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)


class Tls:
    """Mutual TLS 1.3 with certificates of one authority (`pyrep pki` makes them).

    Args:
        certificate: PEM file of this system's certificate, which holds its id.
        key: PEM file of its private key; of several, as while the pair is replaced, the one that
            belongs to the certificate is used.
        authority: PEM file of the certificates that others' must come from.
        denied: ids of systems that aren't let in any more, whatever they show.

    Raises:
        InvalidArgumentError: a file can't be read, or isn't what it should be.
        MissingLibraryError: there is no OpenSSL.
    """

    def __init__(
        self,
        *,
        certificate: Path | str,
        key: Path | str,
        authority: Path | str,
        denied: Iterable[str] = (),
    ) -> None:
        self.certificate = Path(certificate)
        self.key = Path(key)
        self.authority = Path(authority)
        self.denied = frozenset(denied)
        self._configs = self._load()

    def reload(self) -> None:
        """Read the files again, for channels made from now on.

        Raises:
            InvalidArgumentError: one can't be used; what was read before stays in use.
        """
        self._configs = self._load()

    def _load(self) -> tuple[TlsConfig, TlsConfig]:
        client, server = (self._config(is_server=is_server) for is_server in (False, True))
        return client, server

    def _config(self, *, is_server: bool) -> TlsConfig:
        config = TlsConfig(is_server=is_server)
        with _reading(self.authority, "the authority's certificate"):
            config.trust(self.authority.read_bytes())
        with _reading(self.certificate, f"the certificate with the key {self.key}"):
            self._show_pair(config)
        return config

    def _show_pair(self, config: TlsConfig) -> None:
        """Show the certificate with the key that belongs to it.

        Both files may be replaced between the two looks at them: then the next look finds a pair.
        """
        try:
            self._look_at_pair(config)
        except TlsProblem as problem:
            if problem.code != errno.EKEYREJECTED:
                raise
            self._look_at_pair(config)

    def _look_at_pair(self, config: TlsConfig) -> None:
        certificate, text = self.certificate.read_bytes(), self.key.read_bytes()
        *others, last = [found.group() for found in _KEYS.finditer(text)] or [text]
        for key in others:
            try:
                return config.show(certificate, key)
            except TlsProblem as problem:
                if problem.code != errno.EKEYREJECTED:
                    raise
        return config.show(certificate, last)

    def client(self, sock: socket.socket, expected: SystemId) -> Channel:
        """Return the channel to the system that was dialled. See `Security`.

        Raises:
            WireError: it can't be trusted, or its certificate is another system's.
            PathLostError: it went away.
        """
        what = f"system {expected}, dialled at {_name(sock)}"
        channel = self._wrap(sock, self._configs[0], what)
        if channel.peer_id != expected:
            channel.free()
            raise WireError(
                f"{what}, shows the certificate of system {channel.peer_id}",
                hint="correct the address, or the certificate that is used there",
            )
        return channel

    def server(self, sock: socket.socket) -> Channel:
        """Return the channel to who has dialled. See `Security`."""
        what = f"whoever dialled from {_name(sock)}"
        return self._wrap(sock, self._configs[1], what)

    def _wrap(self, sock: socket.socket, config: TlsConfig, what: str) -> Channel:
        try:
            session = TlsSession(config)
            try:
                shake_hands(session, sock)
            except (OSError, TlsProblem) as error:
                raise _refusal(error, what) from error
            peer_id = _identity(session.peer(), what)
            self._check_denied(peer_id, what)
            return SocketChannel(sock, session, peer_id)
        except BaseException:
            sock.close()
            raise

    def _check_denied(self, peer_id: SystemId, what: str) -> None:
        if peer_id in self.denied:
            raise WireError(
                f"{what} is system {peer_id}, which is denied",
                hint="take it off the list of denied systems to let it in again",
            )


def _name(sock: socket.socket) -> str:
    try:
        where = sock.getpeername()
    except OSError:
        return "an address that is gone"
    return f"{where[0]}:{where[1]}" if isinstance(where, tuple) else "a local socket"


def _refusal(error: OSError | TlsProblem, what: str) -> PyrepError:
    """Return what to raise when there is no session."""
    if isinstance(error, TlsProblem) and error.code == errno.EKEYREJECTED:
        return WireError(
            f"cannot trust {what}: {error.why}",
            hint="both systems' certificates come from one authority, and are still valid? "
            "see pyrep pki show",
        )
    if isinstance(error, TlsProblem):
        return WireError(
            f"cannot agree on TLS with {what}: {error.why}",
            hint="does it speak TLS 1.3, or is it set to plain?",
        )
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return PathLostError(
            f"cannot agree on TLS with {what}: it ended the connection",
            hint="look into its log: it says why it refused",
        )
    if isinstance(error, TimeoutError):
        return PathLostError(
            f"cannot agree on TLS with {what}: nothing came in time",
            hint="does it speak TLS 1.3, and is it alive?",
        )
    return lost(error)


def _identity(certificate: bytes, what: str) -> SystemId:
    """Return the system id in a certificate (DER) that was verified."""
    try:
        extension = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        names = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
    except (
        ValueError,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ):
        names = []  # an authority may certify anything at all
    ids = [name.removeprefix(IDENTITY_PREFIX) for name in names if name.startswith(IDENTITY_PREFIX)]
    if len(ids) == 1:
        with contextlib.suppress(InvalidArgumentError):
            return SystemId(check_id("system", ids[0]))
    raise WireError(
        f"the certificate of {what} is no system's: it has {len(ids)} names {IDENTITY_PREFIX}…",
        hint="issue it with pyrep pki issue",
    )


@contextlib.contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Tell which file couldn't be used."""
    hint = "name PEM files that pyrep pki has made, and that this user may read"
    cause: Exception
    try:
        yield
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        cause = error
    except TlsProblem as problem:
        why, cause = problem.why, problem
        if problem.code == errno.ENOKEY:
            why = "the private key is encrypted, and nobody is there to be asked for its password"
            hint = "keep it unencrypted, readable by this user alone"
        elif problem.code == errno.EKEYREJECTED:
            hint = (
                "issuing or copying them was stopped half-way? copy both again, or let pyrep pki "
                "issue --force make both anew"
            )
    else:
        return
    raise InvalidArgumentError(f"cannot use {path} as {what}: {why}", hint=hint) from cause
