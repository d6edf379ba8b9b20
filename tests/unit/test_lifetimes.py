"""When the compiled core's objects are freed: in the right order, and never below a call."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest

from pyrep._core import Ack, Apply, LinkCore, MemoryIo, Stream, Tree, VolumeCore, Wake
from pyrep._core.native import Owned, Pointer, ffi
from pyrep.errors import CancelledError, InvalidArgumentError, PathLostError

SIZE = 1 << 20
CHUNK = 4096


class Graves:
    """Makes objects that only write down in which order they are freed."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def make(self, name: str, *needs: Owned) -> Owned:
        """Make one that points to the others."""
        return Owned(ffi.new("int *"), self._digger(name), needs=needs)

    def _digger(self, name: str) -> Callable[[Pointer], None]:
        return lambda _pointer: self.order.append(name)


def test_what_others_point_to_is_freed_after_them_in_whatever_order_they_are_closed() -> None:
    graves = Graves()
    tree = graves.make("tree")
    volume = graves.make("volume", tree)
    link = graves.make("link", volume)
    tree.close()
    volume.close()
    assert graves.order == []
    link.close()
    link.close()
    assert graves.order == ["link", "volume", "tree"]
    with pytest.raises(InvalidArgumentError, match="closed"):
        graves.make("late", volume)


def test_a_collected_cycle_is_freed_from_its_children_up() -> None:
    graves = Graves()

    class Node:
        def __init__(self) -> None:
            self.me = self

    def forget(*, parents_first: bool) -> None:
        node = Node()
        parent = graves.make("parent")
        child = graves.make("child", parent)
        # A collection finalizes a cycle's objects in the order in which they were made known to it.
        node.__dict__["held"] = [parent, child] if parents_first else [child, parent]

    for parents_first in (True, False):
        forget(parents_first=parents_first)
        gc.collect()
    assert graves.order == ["child", "parent"] * 2


def test_what_is_closed_while_a_call_is_inside_is_freed_when_the_call_returns() -> None:
    graves = Graves()
    thing = graves.make("thing")
    entered, leave = threading.Event(), threading.Event()

    def call(_pointer: Pointer) -> None:
        entered.set()
        leave.wait()

    caller = threading.Thread(target=lambda: call(thing.pointer))
    caller.start()
    entered.wait()
    thing.close()
    assert thing.closed
    assert graves.order == []
    leave.set()
    caller.join()
    assert graves.order == ["thing"]


def test_a_stream_that_is_closed_below_a_waiter_lives_until_the_wait_has_ended() -> None:
    stream = Stream(1, capacity_bytes=4 << 20)
    stream.open(1)
    ended: list[BaseException] = []
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        try:
            stream.wait(9, Ack.RECEIVED, timeout_s=60)
        except BaseException as error:  # noqa: BLE001 - told to the test
            ended.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    waits.wait()
    stream.break_off()
    stream.close()
    waiter.join()
    assert type(ended[0]) in {PathLostError, InvalidArgumentError}


def test_a_link_lives_as_long_as_a_channel_or_another_link_leads_to_it() -> None:
    wake, tree = Wake(), Tree(1)
    volumes = [VolumeCore(MemoryIo(SIZE), tree, name=name, wake=wake) for name in ("one", "two")]
    source, target = (
        LinkCore(one, chunk_bytes=CHUNK, shares_marks=one is volumes[0]) for one in volumes
    )
    target.idle()
    source.forward(target)
    apply = Apply(7)
    apply.start(1, 1)
    apply.bind(1, target)
    tree.close()
    volumes[1].close()
    target.close()
    volumes[0].pwrite(b"through both", 0, ack_timeout_s=1)
    apply.settle()
    assert source.info().any_unsettled
    apply.unbind(1)
    source.settle()
    volumes[0].close()
    source.close()
    apply.close()


def test_a_volume_that_is_closed_below_a_write_is_freed_after_it() -> None:
    io, tree, wake = MemoryIo(SIZE), Tree(1), Wake()
    volume = VolumeCore(io, tree, name="105", wake=wake)
    volume.enter()
    volume.close()
    with pytest.raises(CancelledError, match="closing"):
        volume.pwrite(bytes(CHUNK), 0, ack_timeout_s=1)
    assert volume.closed
    assert not volume.shut(0)  # the object below is still there to be asked
    volume.leave()
    assert volume.shut(0)
