"""Mutual TLS 1.3 between systems: the identity in a certificate is the system's id."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pyrep.errors import InvalidArgumentError, PathLostError, PyrepError, WireError
from pyrep.interconnect.channel import Channel, lost
from pyrep.interconnect.tlschannel import Session, TlsChannel
from pyrep.model.ids import SystemId, check_id

__all__ = ["IDENTITY_PREFIX", "Tls"]

IDENTITY_PREFIX = "urn:pyrep:system:"
"""What stands before the system id in the certificate's subject alternative name (a URI)."""

_KEYS = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
_MISMATCH = "KEY_VALUES_MISMATCH"


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
        self._contexts = self._load()

    def reload(self) -> None:
        """Read the files again, for channels made from now on.

        Raises:
            InvalidArgumentError: one can't be used; what was read before stays in use.
        """
        self._contexts = self._load()

    def _load(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        contexts = []
        for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
            context = ssl.SSLContext(protocol)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.check_hostname = False  # systems have ids; addresses come and go
            context.verify_mode = ssl.CERT_REQUIRED
            with _reading(self.authority, "the authority's certificate"):
                context.load_verify_locations(self.authority)
            with _reading(self.certificate, f"the certificate with the key {self.key}"):
                self._load_pair(context)
            contexts.append(context)
        contexts[1].num_tickets = 0  # nobody resumes a session: each has its certificates checked
        return contexts[0], contexts[1]

    def _load_pair(self, context: ssl.SSLContext) -> None:
        """Load the certificate with the key that belongs to it.

        Both files may be replaced between the two looks at them: then the next look finds a pair.
        """
        try:
            self._look_at_pair(context)
        except ssl.SSLError as error:
            if error.reason != _MISMATCH:
                raise
            self._look_at_pair(context)

    def _look_at_pair(self, context: ssl.SSLContext) -> None:
        certificate, text = self.certificate.read_bytes(), self.key.read_bytes()
        *others, last = [found.group() for found in _KEYS.finditer(text)] or [text]
        for key in others:
            try:
                return _load(context, certificate, key)
            except ssl.SSLError as error:
                if error.reason != _MISMATCH:
                    raise
        return _load(context, certificate, last)

    def client(self, sock: socket.socket, expected: SystemId) -> Channel:
        """Return the channel to the system that was dialled. See `Security`.

        Raises:
            WireError: it can't be trusted, or its certificate is another system's.
            PathLostError: it went away.
        """
        what = f"system {expected}, dialled at {_name(sock)}"
        channel = self._wrap(sock, self._contexts[0], what, server_side=False)
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
        return self._wrap(sock, self._contexts[1], what, server_side=True)

    def _wrap(
        self, sock: socket.socket, context: ssl.SSLContext, what: str, *, server_side: bool
    ) -> TlsChannel:
        session = Session(context, server_side=server_side)
        try:
            session.shake_hands(sock)
        except OSError as error:
            sock.close()
            raise _refusal(error, what) from error
        try:
            peer_id = _identity(session.tls.getpeercert(), what)
            self._check_denied(peer_id, what)
            return TlsChannel(sock, session, peer_id)
        except BaseException:
            sock.close()
            raise

    def _check_denied(self, peer_id: SystemId, what: str) -> None:
        if peer_id in self.denied:
            raise WireError(
                f"{what} is system {peer_id}, which is denied",
                hint="take it off the list of denied systems to let it in again",
            )


def _load(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Load a certificate and a key; the `ssl` module takes them from files alone."""
    with os.fdopen(os.memfd_create("pyrep"), "wb") as file:
        file.write(certificate + b"\n" + key + b"\n")
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=_no_password)


def _name(sock: socket.socket) -> str:
    try:
        where = sock.getpeername()
    except OSError:
        return "an address that is gone"
    return f"{where[0]}:{where[1]}" if isinstance(where, tuple) else "a local socket"


def _refusal(error: OSError, what: str) -> PyrepError:
    """Return what to raise when there is no session."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return WireError(
            f"cannot trust {what}: {error.verify_message}",
            hint="both systems' certificates come from one authority, and are still valid? "
            "see pyrep pki show",
        )
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return PathLostError(
            f"cannot agree on TLS with {what}: it ended the connection",
            hint="look into its log: it says why it refused",
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return WireError(
            f"cannot agree on TLS with {what}: {reason}",
            hint="does it speak TLS 1.3, or is it set to plain?",
        )
    if isinstance(error, TimeoutError):
        return PathLostError(
            f"cannot agree on TLS with {what}: nothing came in time",
            hint="does it speak TLS 1.3, and is it alive?",
        )
    return lost(error)


def _identity(certificate: dict[str, Any] | None, what: str) -> SystemId:
    """Return the system id in a certificate that was verified."""
    names = (certificate or {}).get("subjectAltName", ())
    ids = [
        value.removeprefix(IDENTITY_PREFIX)
        for kind, value in names
        if kind == "URI" and value.startswith(IDENTITY_PREFIX)
    ]
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
    try:
        yield
    except OSError as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        why = (reason or str(error)).replace("_", " ").lower()
        hint = "name PEM files that pyrep pki has made, and that this user may read"
        if reason == _MISMATCH:
            hint = (
                "issuing or copying them was stopped half-way? copy both again, or let pyrep pki "
                "issue --force make both anew"
            )
        raise InvalidArgumentError(f"cannot use {path} as {what}: {why}", hint=hint) from error


def _no_password() -> str:
    raise InvalidArgumentError(
        "the private key is encrypted, and nobody is there to be asked for its password",
        hint="keep it unencrypted, readable by this user alone",
    )
