"""Addresses as people write them: host:port, [v6]:port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pyrep.errors import InvalidArgumentError
from pyrep.model import check_text

__all__ = ["Address"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a system listens. Port 0, to listen at: any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address that a text names.

        Raises:
            InvalidArgumentError: it names none.
        """
        host, colon, port = check_text("address", text).rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        usable = colon and host and port.isascii() and port.isdigit() and int(port) <= 65535
        if not usable or (":" in host) is not bracketed:
            raise InvalidArgumentError(
                f"{text!r} isn't an address", hint="host:port, as 192.0.2.7:7001 or [::1]:7001"
            )
        return cls(host=host, port=int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
