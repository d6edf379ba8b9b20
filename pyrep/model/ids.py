"""Ids: short names that people type, and random keys that bind files to what they belong to."""

from __future__ import annotations

import os
import re
from typing import NewType, TypeVar

from pyrep.errors import InvalidArgumentError

__all__ = [
    "KEY_BYTES",
    "GenerationId",
    "GroupId",
    "PairId",
    "SystemId",
    "VolumeId",
    "WorkflowId",
    "check_id",
    "check_key",
    "check_text",
    "make_pair_id",
    "new_key",
]

SystemId = NewType("SystemId", str)
VolumeId = NewType("VolumeId", str)
PairId = NewType("PairId", str)
GroupId = NewType("GroupId", str)
GenerationId = NewType("GenerationId", str)
WorkflowId = NewType("WorkflowId", str)

T = TypeVar("T", bound=str)

KEY_BYTES = 16
"""Bytes of a key: random, so that two files never share one by chance."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_id(kind: str, text: str) -> str:
    """Return `text` if it may name a thing of this kind.

    Ids become file names and parts of messages; a narrow alphabet keeps both unambiguous. Ids that
    pyrep makes from checked ones (`make_pair_id`) may be longer and aren't checked again.

    Args:
        kind: what is named, in the user's words: "system", "volume", "group", "generation".
        text: the id.

    Returns:
        `text`, unchanged.

    Raises:
        InvalidArgumentError: it isn't 1 to 64 of A-Z a-z 0-9 . _ - with a letter or digit first.
    """
    asked: object = text
    if not isinstance(asked, str) or not _ID.fullmatch(asked):
        raise InvalidArgumentError(
            f"{kind} id {text!r} can't be used",
            hint="1 to 64 of A-Z a-z 0-9 . _ - and a letter or digit first",
        )
    return text


def check_text(kind: str, text: T) -> T:
    """Return `text` if it is one: what is looked up only, and may well not be there.

    Raises:
        InvalidArgumentError: it isn't a str.
    """
    asked: object = text
    if not isinstance(asked, str):
        raise InvalidArgumentError(f"a {kind} can't be named by {text!r}", hint="its id, a str")
    return text


def make_pair_id(primary_system: SystemId, number: int) -> PairId:
    """Return the id of the `number`-th pair made by a system: unique, since its maker's id is."""
    return PairId(f"{primary_system}.{number}")


def new_key() -> bytes:
    """Return 16 random bytes that name one system, volume or row for ever."""
    return os.urandom(KEY_BYTES)


def check_key(kind: str, key: bytes) -> bytes:
    """Return `key` if it has the length of a key.

    Raises:
        InvalidArgumentError: it isn't 16 bytes long.
    """
    if len(key) != KEY_BYTES:
        raise InvalidArgumentError(f"{kind} key is {len(key)} bytes long, not {KEY_BYTES}")
    return key
