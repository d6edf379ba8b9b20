from __future__ import annotations

import errno
import inspect

import msgspec
import pytest
import xxhash

from pyrep import errors
from pyrep.errors import (
    BusyError,
    DeviceError,
    HostAgentError,
    NoSpaceError,
    PyrepError,
    RefusedError,
    WireError,
    WorkflowError,
)
from pyrep.interconnect import messages
from pyrep.interconnect.messages import (
    Done,
    Hello,
    PeerFailed,
    Pending,
    ReadPair,
    StreamAck,
    decode_answer,
    decode_message,
    decode_plain,
    encode,
)
from pyrep.interconnect.messages_path import Refuse


def test_every_exported_name_is_there() -> None:
    for name in messages.__all__:
        assert hasattr(messages, name)


def test_no_two_commands_have_one_tag() -> None:
    kinds = [
        kind
        for _, kind in inspect.getmembers(messages, inspect.isclass)
        if issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct
    ]
    tags = [kind.__struct_config__.tag for kind in kinds if kind.__struct_config__.tag]
    assert len(tags) == len(set(tags)) > 15


def test_a_command_and_its_answer_come_back_as_they_were() -> None:
    assert decode_message(encode(ReadPair(pair_id="100a.1"))) == ReadPair(pair_id="100a.1")
    assert decode_answer(encode(Done())) == Done()
    ack = StreamAck(stream_id=2**63, attempt=3, received=4, durable=2, errors={7: 5})
    assert decode_plain(encode(ack), StreamAck) == ack


def test_an_answer_is_not_taken_for_a_command_nor_the_other_way_round() -> None:
    with pytest.raises(WireError, match="command"):
        decode_message(encode(Done()))
    with pytest.raises(WireError, match="answer"):
        decode_answer(encode(Pending(pair_id="100a.1", direction="forward")))


@pytest.mark.parametrize("data", [b"", b"x", bytes(8), bytes(100)])
def test_what_is_no_command_is_refused(data: bytes) -> None:
    for decode in (decode_message, decode_answer):
        with pytest.raises(WireError):
            decode(data)
    with pytest.raises(WireError):
        decode_plain(data, Hello)


def test_text_that_is_not_utf_8_is_refused_though_its_digest_is_right() -> None:
    """A peer that sends garbage is cut off for it; it isn't a fault of pyrep's own."""
    for decode, sent in (
        (decode_message, encode(ReadPair(pair_id="NAME"))),
        (decode_answer, encode(PeerFailed(kind="x", message="NAME", hint=None))),
        (lambda data: decode_plain(data, Refuse), encode(Refuse(message="NAME"))),
    ):
        body = sent[8:].replace(b"NAME", b"N\xff\xfeE")
        with pytest.raises(WireError, match=r"(?i)utf-8"):
            decode(xxhash.xxh3_64_intdigest(body).to_bytes(8, "little") + body)


def test_what_the_other_system_raised_is_raised_here_with_its_hint() -> None:
    error = PeerFailed(kind="RefusedError", message="cannot", hint="do").to_error()
    assert isinstance(error, RefusedError)
    assert (str(error), error.hint) == ("cannot", "do")


def test_an_error_that_travels_keeps_its_step_action_and_errno() -> None:
    def travelled(error: PyrepError) -> PyrepError:
        return decode_answer(encode(PeerFailed.of(error))).to_error()  # type: ignore[union-attr]

    stopped = travelled(WorkflowError("stopped", hint="resume", step=550))
    assert isinstance(stopped, WorkflowError)
    assert (str(stopped), stopped.hint, stopped.step) == ("stopped", "resume", 550)
    host = travelled(HostAgentError("no answer", step="unmount"))
    assert isinstance(host, HostAgentError)
    assert host.step == "unmount"
    device = travelled(DeviceError("no", errno_code=errno.ENXIO))
    assert isinstance(device, DeviceError)
    assert device.errno_code == errno.ENXIO
    full = travelled(NoSpaceError("full"))
    assert isinstance(full, NoSpaceError)
    assert full.errno_code == errno.ENOSPC


@pytest.mark.parametrize("kind", ["SystemExit", "Exception", "os", "", "format_error"])
def test_the_other_system_cannot_choose_what_is_raised_beyond_our_errors(kind: str) -> None:
    error = PeerFailed(kind=kind, message="m", hint=None).to_error()
    assert type(error) is PyrepError


def test_every_error_class_can_travel() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    found = [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, PyrepError)]
    assert len(found) > 15
    for kind in found:
        error = PeerFailed(kind=kind.__name__, message="m", hint="h").to_error()
        assert isinstance(error, kind)


def test_device_errors_and_busy_ones_keep_their_class() -> None:
    for kind in (DeviceError, BusyError):
        error = PeerFailed(kind=kind.__name__, message="m", hint=None).to_error()
        assert isinstance(error, kind)
