"""Names of files: what the API tells, for people, and as octets."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from pyrep.fs.entries import show

__all__ = ["bytes_of_name", "text_of_name"]


def bytes_of_name(told: dict[str, Any], name: str = "path") -> bytes:
    """Return a name as it is on disk: from the base64 field if it isn't UTF-8."""
    encoded = told.get(f"{name}_b64")
    return b64decode(encoded) if encoded else str(told.get(name, "")).encode()


def text_of_name(told: dict[str, Any], name: str = "path") -> str:
    """Return a name for people; what no terminal should get is escaped."""
    text = show(bytes_of_name(told, name))
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
