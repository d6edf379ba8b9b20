"""What a call of the core borrows is given back when it raises, even while the error is kept."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable

import pytest

from pyrep._core import Apply, Line, MemoryIo, Wake
from pyrep.errors import PyrepError

Call = Callable[[memoryview], object]


def _kept(call: Call) -> tuple[memoryview, PyrepError]:
    view = memoryview(bytearray(64))
    with pytest.raises(PyrepError) as caught:
        call(view)
    return view, caught.value  # with the frames of the call


@pytest.mark.parametrize("name", ["fill", "recv_into", "send"])
def test_a_line_that_ended_holds_no_view(name: str) -> None:
    here, there = socket.socketpair()
    with here:
        there.close()
        line = Line(here.fileno())
        line.end()
        view, error = _kept(getattr(line, name))
        view.release()  # BufferError: it is lent
        assert error.__traceback__ is not None


def test_a_storage_that_refuses_holds_no_view() -> None:
    with MemoryIo(4096) as io:
        for call in (io.pread_into, io.pwrite):
            view, _ = _kept(functools.partial(call, offset=4096))
            view.release()


def test_a_frame_that_is_refused_isnt_held() -> None:
    with Wake() as wake, Apply(1) as apply:
        view, _ = _kept(functools.partial(apply.frame, wake=wake))
        view.release()
