"""The compiled core's wrappers: what they add to it is errors, ownership and waits."""

from __future__ import annotations

import dataclasses
import errno
import gc
import inspect
import os
import threading
from pathlib import Path

import pytest

import pyrep._core as core
from pyrep._core import (
    Ack,
    Apply,
    Bitmap,
    BitmapFile,
    BitmapKey,
    Copier,
    CutItem,
    CutVerb,
    Fence,
    FileIo,
    LinkCore,
    LinkMode,
    MemoryIo,
    OverlayIo,
    Stream,
    Tree,
    VolatileIo,
    VolumeCore,
    VolumeIo,
    Wake,
    crc32c,
    group_cut,
    move_volumes,
    new_frame_buffer,
)
from pyrep.errors import (
    BitmapFileError,
    CancelledError,
    DeviceError,
    FencedError,
    InUseError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PathLostError,
    RefusedError,
    TimedOutError,
    WireError,
)

SIZE = 1 << 20
CHUNK = 4096


class Two:
    """Two volumes of one tree, with a link each way."""

    def __init__(self) -> None:
        self.wake = Wake()
        self.tree = Tree(1)
        self.ios = [VolatileIo(MemoryIo(SIZE)) for _ in range(2)]
        self.volumes = [
            VolumeCore(io, self.tree, name=name, wake=self.wake)
            for io, name in zip(self.ios, ("105b", "106b"), strict=True)
        ]
        self.pvol, self.svol = (
            LinkCore(volume, chunk_bytes=CHUNK, shares_marks=volume is self.volumes[0])
            for volume in self.volumes
        )

    def write(self, offset: int, data: bytes = b"x") -> None:
        self.volumes[0].pwrite(data, offset, ack_timeout_s=1)

    def close(self) -> None:
        for one in (self.pvol, self.svol, *self.volumes, self.tree, *self.ios):
            one.close()


@pytest.fixture
def two() -> object:
    made = Two()
    yield made
    made.close()


def test_every_exported_name_is_there_once_and_defined_in_one_module() -> None:
    assert len(core.__all__) == len(set(core.__all__))
    for name in core.__all__:
        assert hasattr(core, name)


def test_every_wrapper_says_what_it_is() -> None:
    for name in core.__all__:
        thing = getattr(core, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, name


# --- ownership ------------------------------------------------------------------------------------


def test_closing_twice_is_harmless_and_using_a_closed_object_is_named() -> None:
    bitmap = Bitmap(8)
    with bitmap:
        bitmap.set(1)
    bitmap.close()
    assert bitmap.closed
    with pytest.raises(InvalidArgumentError, match="Bitmap is closed"):
        bitmap.any()


def test_an_object_keeps_alive_what_it_points_to() -> None:
    overlay = OverlayIo(MemoryIo(SIZE))
    borrowed = LinkCore(
        VolumeCore(MemoryIo(SIZE), Tree(9), name="v", wake=Wake()),
        chunk_bytes=CHUNK,
        shares_marks=False,
    ).pending
    gc.collect()
    overlay.pwrite(b"x", 0)
    assert overlay.pread(1, 0) == b"x"
    borrowed.set(1)
    assert borrowed.test(1)


# --- waits ----------------------------------------------------------------------------------------


def test_a_wake_handle_ends_waits_now_and_later_until_it_is_cleared() -> None:
    wake = Wake()
    stream = Stream(1, capacity_bytes=4 << 20)
    stream.open(1)
    buffer, _ = new_frame_buffer()
    assert stream.take_into(buffer, 0, wake) == 0
    ended: list[CancelledError] = []

    def wait() -> None:
        try:
            stream.take_into(buffer, 60, wake)
        except CancelledError as error:
            ended.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    wake.set()
    waiter.join()
    assert len(ended) == 1
    assert wake.is_set()
    with pytest.raises(CancelledError):
        stream.take_into(buffer, 60, wake)
    wake.clear()
    assert not wake.is_set()
    assert stream.take_into(buffer, 0, wake) == 0


def test_a_wait_past_its_time_is_told(two: Two) -> None:
    stream = Stream(1, capacity_bytes=4 << 20)
    stream.open(1)
    two.pvol.ship(stream, 1, Ack.QUEUED)
    two.write(0)
    with pytest.raises(TimedOutError, match="record 1"):
        stream.wait(1, Ack.RECEIVED, timeout_s=0.01)
    stream.break_off()
    with pytest.raises(PathLostError):
        stream.wait(1, Ack.RECEIVED, timeout_s=60)
    two.pvol.mark()
    stream.close()


def test_a_stream_takes_no_acknowledgement_of_what_it_never_sent() -> None:
    stream = Stream(1, capacity_bytes=4 << 20)
    stream.open(5)
    with pytest.raises(WireError, match="7/7"):
        stream.ack(5, 7, 7)
    stream.ack(4, 7, 7)  # an older attempt's
    with pytest.raises(InvalidArgumentError, match="under 4 MiB"):
        Stream(1, capacity_bytes=1)


# --- storage --------------------------------------------------------------------------------------


def test_a_file_is_locked_and_what_is_no_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(bytes(SIZE))
    with FileIo(path) as io:
        assert io.size_bytes == SIZE
        with pytest.raises(InUseError, match=r"a\.img") as caught:
            FileIo(path)
        assert caught.value.hint
        with FileIo(path, locked=False) as reader:
            assert reader.pread(1, 0) == b"\0"
        identity = io.identify()
        assert (identity.inode, identity.size_bytes) == (path.stat().st_ino, SIZE)
    with pytest.raises(NotFoundError, match="nowhere"):
        FileIo(tmp_path / "nowhere")
    with pytest.raises(InvalidArgumentError, match="not a regular file"):
        FileIo(tmp_path)


def test_ranges_past_the_end_of_storage_are_refused() -> None:
    io = MemoryIo(SIZE)
    for attempt in (
        lambda: io.pread(2, SIZE - 1),
        lambda: io.zero(1, SIZE),
    ):
        with pytest.raises(OutOfRangeError, match="memory"):
            attempt()
    with pytest.raises(OutOfRangeError):
        io.pwrite(b"xx", SIZE - 1)


def test_extents_tell_what_holds_data(tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    with path.open("wb") as file:
        file.truncate(SIZE)
    with FileIo(path) as io:
        assert list(io.extents()) == []
        io.pwrite(b"x" * 4096, 65536)
        (extent,) = io.extents()
        assert extent[0] <= 65536 < extent[0] + extent[1]
        assert list(io.extents(0, 65536)) in ([], [(0, 65536)])


def test_a_view_never_writes_its_base() -> None:
    base = MemoryIo(SIZE)
    base.pwrite(b"base", 0)
    with OverlayIo(base) as view:
        view.pwrite(b"view", 0)
        view.zero(4096, 8192)
        assert view.pread(4, 0) == b"view"
        assert view.dirty_bytes > 0
    assert base.pread(4, 0) == b"base"


def test_unflushed_writes_are_lost_with_the_power_and_failures_come_on_demand() -> None:
    base = MemoryIo(SIZE)
    io = VolatileIo(base)
    io.pwrite(b"kept", 0)
    io.flush()
    io.pwrite(b"lost", 0)
    assert io.unflushed_count == 1
    io.lose(seed=1)
    assert io.pread(4, 0) == b"kept"
    assert io.flush_count == 1
    io.fail_after(1, 5)
    io.pwrite(b"one", 0)
    with pytest.raises(DeviceError) as caught:
        io.pwrite(b"two", 0)
    assert caught.value.errno_code == 5
    io.fail_after(0, 0)
    io.fail_reads(5)
    with pytest.raises(DeviceError):
        io.pread(1, 0)


def test_checksums_are_those_of_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283


# --- bitmaps --------------------------------------------------------------------------------------


def test_a_range_it_cannot_mark_is_an_error_not_a_lost_bit() -> None:
    bitmap = Bitmap(100)
    for attempt in (lambda: bitmap.set(99, 2), lambda: bitmap.clear(100), lambda: bitmap.test(100)):
        with pytest.raises(OutOfRangeError):
            attempt()
    assert not bitmap.any()
    with pytest.raises(InvalidArgumentError):
        Bitmap(0)


def test_bitmaps_do_set_algebra_with_their_like_only() -> None:
    one, other = Bitmap(100), Bitmap(100)
    one.set(10, 10)
    other.set(15, 10)
    one.update(other)
    assert list(one.runs()) == [(10, 15)]
    one.symmetric_difference_update(other)
    assert list(one.runs()) == [(10, 5)]
    other.fill()
    other.difference_update(one)
    assert other.count() == 95
    other.intersection_update(one)
    assert not other.any()
    assert len(one) == 100
    with pytest.raises(InvalidArgumentError, match="100 and 99"):
        one.update(Bitmap(99))


def test_many_runs_come_in_order() -> None:
    bitmap = Bitmap(100_000)
    for index in range(0, 100_000, 3):
        bitmap.set(index)
    assert list(bitmap.runs()) == [(index, 1) for index in range(0, 100_000, 3)]


_KEY = BitmapKey(
    system_key=b"s" * 16,
    volume_key=b"v" * 16,
    row_key=b"r" * 16,
    bit_count=1000,
    chunk_bytes=CHUNK,
    data_id=0,
)


def test_a_bitmap_file_keeps_bits_and_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "row.bitmap"
    bits, more = Bitmap(1000), Bitmap(1000)
    bits.set(3)
    more.set(999)
    with BitmapFile.create(path, _KEY, marked_open=True) as file:
        assert file.marked_open
        file.save(bits, more)
        file.mark_closed(7)
    closed = dataclasses.replace(_KEY, data_id=7)
    with BitmapFile.open(path, closed) as file:
        assert not file.marked_open
        found = Bitmap(1000)
        file.load(found)
        assert list(found.runs()) == [(3, 1), (999, 1)]
        with pytest.raises(InUseError):
            BitmapFile.open(path, closed)
        file.mark_open()
    with BitmapFile.open(path, _KEY) as file:
        assert file.marked_open


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (dataclasses.replace(_KEY, row_key=b"x" * 16), "belongs to another"),
        (dataclasses.replace(_KEY, bit_count=999), "belongs to another"),
        (dataclasses.replace(_KEY, data_id=8), "another generation"),
    ],
)
def test_a_bitmap_file_of_something_else_is_refused(
    tmp_path: Path, other: BitmapKey, why: str
) -> None:
    path = tmp_path / "row.bitmap"
    BitmapFile.create(path, _KEY, marked_open=False).close()
    with pytest.raises(BitmapFileError, match=why):
        BitmapFile.open(path, other)
    os.truncate(path, 4096)
    with pytest.raises(BitmapFileError, match="truncated"):
        BitmapFile.open(path, _KEY)
    path.unlink()
    with pytest.raises(BitmapFileError, match="missing"):
        BitmapFile.open(path, _KEY)


# --- volumes and links ----------------------------------------------------------------------------


def test_a_write_marks_forwards_and_settles(two: Two) -> None:
    two.pvol.mark()
    two.write(3 * CHUNK)
    assert two.pvol.pending_count() == 1
    assert list(two.pvol.cover().runs()) == [(3, 1)]
    two.svol.idle()
    two.pvol.forward(two.svol)
    with Copier(two.pvol) as copier:
        while copier.run(SIZE, two.wake):
            pass
        assert copier.progress.copied_bytes == CHUNK
    two.write(9 * CHUNK)
    info = two.pvol.info()
    assert (info.mode, info.any_pending, info.any_unsettled) == (LinkMode.FORWARD, False, True)
    two.pvol.settle()
    assert not two.pvol.info().any_unsettled
    assert two.ios[1].pread(1, 9 * CHUNK) == b"x"
    assert (two.ios[1].flush_count, two.pvol.chunk_count) == (2, SIZE // CHUNK)


def test_fences_and_leases_keep_hosts_off_by_name(two: Two) -> None:
    volume = two.volumes[0]
    volume.fence(Fence.WRITES)
    with pytest.raises(FencedError, match="105b") as caught:
        two.write(0)
    assert caught.value.hint
    volume.fence(Fence.WRITES | Fence.READS)
    with pytest.raises(FencedError, match="inconsistent"):
        volume.pread_into(bytearray(1), 0)
    volume.fence(Fence.NONE)
    volume.lease(77)
    with pytest.raises(FencedError, match="restore"):
        two.write(0)
    volume.pwrite(b"mine", 0, token=77, ack_timeout_s=1)
    with VolumeIo(volume, token=77, ack_timeout_s=1) as io:
        io.pwrite(b"too", 0)
    volume.lease(0)
    two.write(0)


def test_a_link_says_which_side_failed(two: Two) -> None:
    two.svol.idle()
    two.pvol.forward(two.svol)
    two.ios[1].fail_after(0, 5)
    two.write(0)
    assert (two.pvol.info().broken, two.pvol.info().source_failed) == (5, False)
    two.ios[1].fail_after(0, 0)
    two.pvol.forward(two.svol)
    assert two.pvol.info().broken == 0
    two.ios[0].fail_after(0, 5)
    with pytest.raises(DeviceError, match="105b"):
        two.write(CHUNK)
    assert (two.pvol.info().broken, two.pvol.info().source_failed) == (5, True)
    assert list(two.pvol.cover().runs()) == [(0, 2)]


def test_a_chunk_size_that_cannot_be_is_refused_with_a_hint(two: Two) -> None:
    for chunk_bytes in (0, 4095, 5000, 2 << 20):
        with pytest.raises(InvalidArgumentError, match=str(chunk_bytes)) as caught:
            LinkCore(two.volumes[0], chunk_bytes=chunk_bytes, shares_marks=False)
        assert caught.value.hint


def test_a_cut_splits_all_links_or_none_and_names_what_was_not_ready(two: Two) -> None:
    two.svol.idle()
    two.pvol.forward(two.svol)
    two.pvol.pending.set(1)
    items = [CutItem(verb=CutVerb.SPLIT, on=two.pvol)]
    with pytest.raises(RefusedError, match=r"item 0 \(SPLIT\)"):
        group_cut(items, timeout_s=1, wake=two.wake)
    assert two.pvol.info().mode is LinkMode.FORWARD
    two.pvol.pending.clear(1)
    gate = CutItem(verb=CutVerb.GATE, on=two.volumes[1])
    numbers, closed_ms = group_cut([gate, *items], timeout_s=1, wake=two.wake)
    assert (numbers, two.pvol.info().mode) == ([0, 0], LinkMode.MARK)
    assert closed_ms >= 0


def test_a_cut_corks_streams_at_a_point_and_checks_what_was_applied(two: Two) -> None:
    stream, apply = Stream(1, capacity_bytes=4 << 20), Apply(1)
    apply.start(1, stream.open(1))
    two.pvol.ship(stream, 1, Ack.QUEUED)
    two.write(0)
    numbers, _ = group_cut([CutItem(verb=CutVerb.CORK, on=stream)], timeout_s=1, wake=two.wake)
    assert (numbers, stream.info().corked) == ([1], True)
    with pytest.raises(RefusedError, match="CORK"):
        group_cut([CutItem(verb=CutVerb.CORK, on=stream)], timeout_s=1, wake=two.wake)
    stream.uncork()
    with pytest.raises(RefusedError, match="APPLIED"):
        group_cut([CutItem(verb=CutVerb.APPLIED, on=apply, number=1)], timeout_s=1, wake=two.wake)
    group_cut([CutItem(verb=CutVerb.APPLIED, on=apply, number=0)], timeout_s=1, wake=two.wake)
    two.pvol.mark()
    stream.close()
    apply.close()


def test_an_incoming_stream_takes_newer_attempts_and_one_link_per_channel(two: Two) -> None:
    apply = Apply(1)
    apply.start(2, 1)
    with pytest.raises(WireError, match="attempt 2"):
        apply.start(2, 1)
    apply.bind(1, two.svol)
    with pytest.raises(RefusedError, match="channel 1"):
        apply.bind(1, two.svol)
    apply.unbind_link(two.svol)
    apply.bind(1, two.svol)
    apply.unbind_all()
    assert apply.take_errors() == {}
    apply.close()


def test_volumes_move_between_trees_and_links_forward_within_one_only() -> None:
    wake, trees = Wake(), [Tree(1), Tree(2)]
    ios = [MemoryIo(SIZE), MemoryIo(SIZE)]
    volumes = [
        VolumeCore(io, tree, name="v", wake=wake) for io, tree in zip(ios, trees, strict=True)
    ]
    links = [LinkCore(volume, chunk_bytes=CHUNK, shares_marks=False) for volume in volumes]
    with pytest.raises(DeviceError):
        links[0].forward(links[1])
    move_volumes([volumes[1]], trees[1], trees[0])
    move_volumes([volumes[1]], trees[0], trees[0])
    links[0].forward(links[1])
    volumes[0].pwrite(b"x", 0, ack_timeout_s=1)
    assert ios[1].pread(1, 0) == b"x"
    for one in (*links, *volumes, *trees, *ios):
        one.close()


def test_nobody_enters_a_volume_that_is_shut_and_whoever_is_inside_is_told(two: Two) -> None:
    volume = two.volumes[0]
    with VolumeIo(volume, ack_timeout_s=1):
        assert not volume.shut(0)
        with pytest.raises(CancelledError, match="closing"):
            two.write(0)
        volume.let_in()
        two.write(0)
    assert volume.shut(0)
    volume.let_in()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EBUSY, errno.ESTALE])
def test_storage_that_refuses_by_itself_is_not_told_as_a_fence(two: Two, code: int) -> None:
    two.ios[0].fail_after(0, code)
    with pytest.raises(DeviceError, match="writing volume 105b") as caught:
        two.write(0)
    assert caught.value.errno_code == code
    assert two.pvol.pending_count() == 1
    two.ios[0].fail_reads(code)
    with pytest.raises(DeviceError, match="reading volume 105b"):
        two.volumes[0].pread_into(bytearray(1), 0)
