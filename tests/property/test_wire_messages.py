"""Each type of message that crosses the path is drawn, whole and damaged.

What is drawn follows from a type's fields, so that none is left out: a new type of the unions is
drawn by itself, one beside them has to be named in `_PLAIN`.
"""

from __future__ import annotations

import inspect
import pkgutil
import types
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyrep.interconnect
from pyrep.errors import PathLostError, WireError
from pyrep.interconnect.envelope import Envelope, Kind, open_envelope, receive, seal_envelope
from pyrep.interconnect.messages import (
    Answer,
    Hello,
    Message,
    StreamAck,
    decode_answer,
    decode_message,
    decode_plain,
    encode,
)
from pyrep.interconnect.messages_path import Accept, OpenControl, OpenData, Refuse
from tape import Tape

_COMMANDS: tuple[type[msgspec.Struct], ...] = get_args(Message)
_ANSWERS: tuple[type[msgspec.Struct], ...] = get_args(Answer)
_PLAIN: dict[type[msgspec.Struct], Kind] = {
    Hello: Kind.ACCEPT,  # within it
    StreamAck: Kind.ACK,
    OpenControl: Kind.OPEN_CONTROL,
    OpenData: Kind.OPEN_DATA,
    Accept: Kind.ACCEPT,
    Refuse: Kind.REFUSE,
}
_TYPES = [*_COMMANDS, *_ANSWERS, *_PLAIN]

_U64 = st.integers(0, 2**64 - 1)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
_SCALARS: dict[object, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: _U64,
    float: st.floats(0, 1e9),
    str: st.text(max_size=12),
    bytes: st.binary(max_size=24),
    type(None): st.none(),
    Any: _ANYTHING,
}


def _values(kind: Any) -> st.SearchStrategy[Any]:
    """Return what a field of this type may hold."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    inner = [_values(one) for one in get_args(kind)]
    origin = get_origin(kind)
    if origin in {types.UnionType, Union}:
        return st.one_of(inner)
    if origin is list:
        return st.lists(*inner, max_size=4)
    if origin is dict:
        return st.dictionaries(*inner, max_size=3)
    raise AssertionError(f"how is a {kind} drawn?")


def _drawn(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    """Return messages of a type, with each of its fields drawn."""
    hints = get_type_hints(kind)
    names = kind.__struct_fields__
    return st.builds(kind, **{name: _values(hints[name]) for name in names})


def _decoder(kind: type[msgspec.Struct]) -> tuple[Kind, Callable[[bytes], object]]:
    """Return what a type travels in, and who takes it there."""
    if kind in _COMMANDS:
        return Kind.COMMAND, decode_message
    if kind in _ANSWERS:
        return Kind.ANSWER, decode_answer
    return _PLAIN[kind], partial(decode_plain, kind=kind)


def _sent(kind: Kind, body: bytes) -> bytes:
    return seal_envelope(kind, 7, len(body)) + body


def _took(data: bytes, decode: Callable[[bytes], object]) -> tuple[Envelope, object]:
    """Take what comes as a path does. WireError: refused. PathLostError: there is too little."""
    envelope, body = receive(Tape(data, at_once=len(data) + 1))
    return envelope, decode(body)


def test_each_type_of_message_is_drawn() -> None:
    names = [
        one.name
        for one in pkgutil.iter_modules(pyrep.interconnect.__path__)
        if one.name.startswith("messages")
    ]
    found = {
        kind
        for name in names
        for _, kind in inspect.getmembers(import_module(f"pyrep.interconnect.{name}"))
        if inspect.isclass(kind) and issubclass(kind, msgspec.Struct)
    } - {msgspec.Struct}
    assert len(names) > 1
    assert set(_TYPES) == found
    assert len(_TYPES) == len(found) > 35


@pytest.mark.parametrize("kind", _TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=50)
def test_a_message_comes_as_it_was_sent(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    message = data.draw(_drawn(kind))
    travels_in, decode = _decoder(kind)
    sent = _sent(travels_in, encode(message))
    envelope, came = _took(sent, decode)
    assert (type(came), came) == (kind, message)
    assert envelope == open_envelope(sent[:32])


@pytest.mark.parametrize("kind", _TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_each_flipped_bit_and_each_truncation_of_a_message_in_its_envelope_is_refused(
    kind: type[msgspec.Struct], data: st.DataObject
) -> None:
    message = data.draw(_drawn(kind))
    travels_in, decode = _decoder(kind)
    sent = _sent(travels_in, encode(message))
    for bit in range(len(sent) * 8):
        flipped = bytearray(sent)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            _took(bytes(flipped), decode)
    for length in range(len(sent)):
        with pytest.raises(PathLostError):  # the rest never comes
            _took(sent[:length], decode)
    body = sent[32:]
    for length in range(len(body)):  # an envelope that tells the shorter length
        with pytest.raises(WireError):
            decode(body[:length])
    with pytest.raises(WireError):
        decode(body + b"\0")
