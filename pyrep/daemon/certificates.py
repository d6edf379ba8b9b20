"""The certificates by which a served system is known: whose its own is, and how long they last."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyrep.errors import InvalidArgumentError
from pyrep.interconnect import Tls

__all__ = ["Certificates", "check_own"]

_log = logging.getLogger(__name__)

_SOON = timedelta(days=30)
_EACH = timedelta(days=1)


def _now() -> datetime:
    return datetime.now(UTC)


def check_own(certificate: Path, system_id: str) -> None:
    """Raise unless a certificate is that of a system.

    With another system's nothing would work, and each of the others would say something else.

    Raises:
        InvalidArgumentError: it is another system's, or no system's.
    """
    from pyrep.interconnect.pki import read_certificate  # noqa: PLC0415 (a large library)

    facts = read_certificate(certificate)
    if facts.system_id != system_id:
        found = (
            f"system {facts.system_id}'s" if facts.system_id else f"no system's ({facts.subject})"
        )
        raise InvalidArgumentError(
            f"cannot serve system {system_id} with the certificate {certificate}: it is {found}",
            hint=f"name the certificate of system {system_id}; pyrep pki issue makes it, and pyrep "
            "pki show tells whose one is",
        )


class Certificates:
    """Watches the files of a `Tls`. What they say is that of the last ones that it took.

    Args:
        tls: has read them already.
        system_id: whose the certificate has to be.
        now: the time in UTC.

    Raises:
        InvalidArgumentError: the certificate is another system's, or no system's.
    """

    def __init__(self, tls: Tls, system_id: str, *, now: Callable[[], datetime] = _now) -> None:
        self._tls = tls
        self._system_id = system_id
        self._now = now
        check_own(tls.certificate, system_id)
        self._read()

    def reload(self) -> None:
        """Let the files be read again, for connections from now on.

        Raises:
            PyrepError: one can't be used, or the certificate isn't the system's; those that were
                read before stay in use.
        """
        tls = self._tls
        Tls(certificate=tls.certificate, key=tls.key, authority=tls.authority)
        check_own(tls.certificate, self._system_id)
        tls.reload()
        self._read()

    @property
    def denied(self) -> frozenset[str]:
        """Ids of systems that aren't let in."""
        return self._tls.denied

    def look(self) -> None:
        """Warn of what has run out or will within 30 days, if that wasn't said within a day."""
        if self._now() - self._said_at >= _EACH:
            self._warn()

    def facts(self) -> dict[str, str]:
        """Return until when they are valid: the system's own, and the longest of the authority."""
        return {
            "certificate_not_after": self._own.isoformat(),
            "authority_not_after": self._authority.isoformat(),
        }

    def _read(self) -> None:
        from pyrep.interconnect.pki import read_certificates  # noqa: PLC0415 (a large library)

        self._own = read_certificates(self._tls.certificate)[0].not_after
        # While an authority is replaced the file holds both: the old one may run out.
        both = read_certificates(self._tls.authority)
        self._authority = max(one.not_after for one in both)
        self._warn()

    def _warn(self) -> None:
        now = self._said_at = self._now()
        renew = (
            f"pyrep pki issue AUTHORITY {self._system_id} --force, copy both files here, SIGHUP: "
            "docs/serve.md"
        )
        replace = "make a new authority, and put it below this one at every site: docs/serve.md"
        for file, until, hint in (
            (self._tls.certificate, self._own, renew),
            (self._tls.authority, self._authority, replace),
        ):
            if until - now < _SOON:
                what = "ended" if until <= now else "ends_soon"
                _log.warning(
                    "certificate.%s file=%s until=%s days_left=%d hint=%s",
                    what,
                    file,
                    until.isoformat(),
                    (until - now).days,
                    hint,
                )
