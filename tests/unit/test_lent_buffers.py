"""What a call of the core borrows is given back when it raises, even while the error is kept."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrep import StorageSystem
from pyrep._core import Apply, Line, MemoryIo, Wake
from pyrep.errors import PyrepError
from pyrep.model import VolumeId

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


def test_a_volume_that_refuses_holds_no_view(tmp_path: Path) -> None:
    with StorageSystem.create(tmp_path / "100a", "100a") as system:
        system.create_volume("105a", 4096)
        core = system.state.volume(VolumeId("105a")).core
        view, _ = _kept(functools.partial(core.pread_into, offset=4096))
        view.release()
        for at_once in (True, False):
            core.at_once = at_once
            view, _ = _kept(functools.partial(core.pwrite, offset=4096, ack_timeout_s=1.0))
            view.release()


def test_a_frame_that_is_refused_isnt_held() -> None:
    with Wake() as wake, Apply(1) as apply:
        view, _ = _kept(functools.partial(apply.frame, wake=wake))
        view.release()
