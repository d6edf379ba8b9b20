"""What the two ends of a path tell each other before anything else."""

from __future__ import annotations

import msgspec

__all__ = ["Accept", "OpenControl", "OpenData", "Refuse"]


class OpenControl(msgspec.Struct, frozen=True, kw_only=True):
    """The dialling side's first words on the control channel.

    `attempt` is the lowest number it can use; the other side chooses. `hello` is encoded.
    """

    hello: bytes
    attempt: int


class OpenData(msgspec.Struct, frozen=True, kw_only=True):
    """The dialling side's first words on the data channel: which control channel it belongs to."""

    token: bytes


class Accept(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to either. `hello` and `token` are empty on the data channel."""

    attempt: int
    hello: bytes = b""
    token: bytes = b""


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """Why there will be no connection."""

    message: str
    hint: str | None = None
