"""TLS in the core: the certificates of this side, and sessions between bytes in memory."""

from __future__ import annotations

import errno

from pyrep._core.native import Buffer, Owned, Pointer, check, ffi, lib
from pyrep.errors import MissingLibraryError

__all__ = ["TlsConfig", "TlsProblem", "TlsSession"]

_CERTIFICATE_BYTES = 1 << 20
_TOLD_BYTES = 64 << 10


class TlsProblem(Exception):  # noqa: N818 (raised for one caller, which says what it means there)
    """What OpenSSL refused, in its words.

    Attributes:
        code: EKEYREJECTED: not trusted, or the key is another certificate's; ENOKEY: the key is
            encrypted; EBADMSG: not usable; EPROTO: no session.
        why: its reason.
    """

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


def _check(code: int, why: Pointer, what: str) -> int:
    if -code in (errno.EKEYREJECTED, errno.ENOKEY, errno.EBADMSG, errno.EPROTO):
        raise TlsProblem(-code, _text(why))
    return check(code, what)


def _text(why: Pointer) -> str:
    return bytes(ffi.string(why)).decode(errors="replace")


def _room() -> Pointer:
    return ffi.new("char[]", lib.REP_TLS_WHY_BYTES)


class TlsConfig(Owned):
    """What one side shows, and whom it trusts; sessions are made with it.

    Raises:
        MissingLibraryError: there is no OpenSSL.
    """

    def __init__(self, *, is_server: bool) -> None:
        out = ffi.new("rep_tls_config **")
        code = lib.rep_tls_config_new(is_server, out)
        if code == -errno.ENOSYS:
            raise MissingLibraryError(
                "cannot secure paths: there is no OpenSSL 3 (libssl.so.3)",
                hint="install it (Debian: libssl3, Fedora: openssl-libs)",
            )
        check(code, "preparing TLS")
        super().__init__(out[0], lib.rep_tls_config_free)

    def trust(self, pem: Buffer) -> None:
        """Trust the certificates in a PEM text. TlsProblem: none is in it, or one is broken."""
        why = _room()
        with ffi.from_buffer(pem) as text:
            code = lib.rep_tls_config_trust(self.pointer, text, len(text), why)
        _check(code, why, "trusting an authority")

    def show(self, certificate: Buffer, key: Buffer) -> None:
        """Show a certificate, proved by its key. TlsProblem: see there; another may be tried."""
        why = _room()
        with ffi.from_buffer(certificate) as shown, ffi.from_buffer(key) as secret:
            code = lib.rep_tls_config_show(
                self.pointer, shown, len(shown), secret, len(secret), why
            )
        _check(code, why, "using a certificate")


class TlsSession(Owned):
    """One session. Its handshake is one thread's; then a line sends and receives through it."""

    def __init__(self, config: TlsConfig) -> None:
        out = ffi.new("rep_tls **")
        check(lib.rep_tls_new(config.pointer, out), "beginning a TLS session")
        super().__init__(out[0], lib.rep_tls_free)

    def shake_hands(self) -> bool:
        """Go on agreeing; return whether both sides have. After this, `take` what is to be sent.

        Raises:
            TlsProblem: the other side isn't trusted, or they can't agree.
        """
        why = _room()
        code = lib.rep_tls_shake_hands(self.pointer, why)
        return code != -errno.EAGAIN and _check(code, why, "agreeing on TLS") == 0

    def give(self, data: Buffer) -> None:
        """Hand over what came from the other side, during the handshake."""
        with ffi.from_buffer(data) as came:
            code = lib.rep_tls_give(self.pointer, came, len(came))
        check(code, "agreeing on TLS")

    def take(self) -> bytes:
        """Return what is to be sent; nothing: there is nothing more."""
        room = bytearray(_TOLD_BYTES)
        with ffi.from_buffer(room) as to:
            length = lib.rep_tls_take(self.pointer, to, len(to))
        return bytes(room[: check(length, "agreeing on TLS")])

    def peer(self) -> bytes:
        """Return the other side's certificate (DER), which was verified."""
        room = bytearray(_CERTIFICATE_BYTES)
        with ffi.from_buffer(room) as to:
            length = lib.rep_tls_peer(self.pointer, to, len(to))
        return bytes(room[: check(length, "reading the other side's certificate")])

    def renew_after(self, records: int) -> None:
        """Renew the sender's keys after so many records. Before anything is sent."""
        lib.rep_tls_renew_after(self.pointer, records)

    @property
    def why(self) -> str:
        """The reason of what failed first, once it is a line's; empty: nothing has."""
        why = _room()
        lib.rep_tls_why(self.pointer, why)
        return _text(why)
