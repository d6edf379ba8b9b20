from __future__ import annotations

import itertools
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pyrep.engine
from pyrep.engine import Options, StorageSystem, connect
from pyrep.errors import (
    BusyError,
    CancelledError,
    DeviceError,
    ExistsError,
    FencedError,
    InUseError,
    InvalidArgumentError,
    NoSpaceError,
    NotFoundError,
    OutOfRangeError,
    PyrepError,
    ReadOnlyError,
    RefusedError,
    WireError,
)
from pyrep.model import GroupStatus, PairStatus, SplitCause
from rig import CHUNK, LONG_S, MIB, SIZE, Rig, Site, content, equal, fill, refused


def test_every_exported_name_is_there() -> None:
    for name in pyrep.engine.__all__:
        assert hasattr(pyrep.engine, name)


# --- systems --------------------------------------------------------------------------------------


def test_a_system_is_made_opened_and_closed(tmp_path: Path) -> None:
    with StorageSystem.create(tmp_path / "s", "100a") as system:
        assert (system.system_id, system.directory) == ("100a", tmp_path / "s")
        assert (system.volumes(), system.pairs(), system.table()) == ((), (), ())
        assert system.list_generations() == ()
    system.close()
    with pytest.raises(InvalidArgumentError, match="100a is closed"):
        system.volumes()
    with pytest.raises(InvalidArgumentError, match="closed"):
        system.create_volume("1", 1)
    with StorageSystem.open(str(tmp_path / "s")) as again:
        assert again.system_id == "100a"


def test_what_an_interrupted_creation_has_left_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "above" / "s"
    with monkeypatch.context() as ends:
        ends.setattr(Path, "rename", lambda *_: os._exit(0))
        if os.fork() == 0:
            StorageSystem.create(path, "100a")
    os.wait()
    assert sorted(one.name for one in path.iterdir()) == [
        "bitmaps",
        "lock",
        "pyrep.db.new",
        "volumes",
    ]
    with pytest.raises(NotFoundError):
        StorageSystem.open(path)
    with StorageSystem.create(path, "100a") as system:
        assert system.system_id == "100a"
        with pytest.raises(ExistsError):
            StorageSystem.create(path, "100a")
    assert not (path / "pyrep.db.new").exists()


def test_a_directory_with_anybodys_file_below_is_not_made_a_system(tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes" / "mine").write_text("mine")
    with pytest.raises(ExistsError):
        StorageSystem.create(tmp_path, "100a")
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["mine", "volumes"]


def test_a_directory_that_holds_something_is_not_made_a_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExistsError, match="isn't empty") as caught:
        StorageSystem.create(tmp_path, "100a")
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(InvalidArgumentError, match="no directory"):
        StorageSystem.create(tmp_path / "file", "100a")


@pytest.mark.parametrize("system_id", ["", "a b", "ä", "../x", "-x", "x" * 65])
def test_an_id_that_cannot_be_used_makes_nothing(tmp_path: Path, system_id: str) -> None:
    with pytest.raises(InvalidArgumentError):
        StorageSystem.create(tmp_path / "s", system_id)
    assert not (tmp_path / "s").exists()


def test_a_creation_that_failed_half_way_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise NoSpaceError("full")

    monkeypatch.setattr("pyrep.engine.directory.SystemTable.set", fail)
    with pytest.raises(NoSpaceError):
        StorageSystem.create(tmp_path / "s", "100a")
    monkeypatch.undo()
    StorageSystem.create(tmp_path / "s", "100a").close()


# --- full and read-only storage -------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a tmpfs")
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(where)], check=False
    )
    if mounted.returncode:
        pytest.skip("mount isn't allowed here")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def _fill_disk(where: Path) -> Path:
    """Write until nothing more fits; return the file to delete."""
    filler = where / "filler"
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(handle, bytes(4096)):
            pass
    except OSError:
        return filler
    finally:
        os.close(handle)
    raise AssertionError("a full disk takes no bytes")


def _remount(where: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(where)], check=True)


def test_a_full_disk_is_told_and_the_system_can_be_used_again(small_disk: Path) -> None:
    with StorageSystem.create(small_disk / "s", "100a") as system:
        volume = system.create_volume("105a", 2 * MIB)
        system.create_volume("106a", 2 * MIB)
        filler = _fill_disk(small_disk)
        with pytest.raises(NoSpaceError) as caught:
            volume.pwrite(b"x" * MIB, 0)
        assert "105a" in str(caught.value)
        assert caught.value.hint
        with pytest.raises(NoSpaceError) as caught:
            system.create_local_pair("105a", "106a")
        assert caught.value.hint
        assert system.pairs() == ()
        assert not list((system.directory / "bitmaps").iterdir())
        filler.unlink()
        volume.pwrite(b"now", 0)
        pair = system.create_local_pair("105a", "106a")
        pair.wait(timeout_s=LONG_S)
        assert equal(volume, system.volume("106a"))


def test_a_disk_that_is_full_at_close_leaves_a_system_that_opens(small_disk: Path) -> None:
    system = StorageSystem.create(small_disk / "s", "100a")
    volume = system.create_volume("105a", MIB)
    system.create_volume("106a", MIB)
    system.create_local_pair("105a", "106a").wait(timeout_s=LONG_S)
    system.pairs()[0].split()
    volume.pwrite(b"x", 0)
    filler = _fill_disk(small_disk)
    try:
        system.close()
    except (NoSpaceError, DeviceError):
        filler.unlink()
        with StorageSystem.open(small_disk / "s") as again:
            assert 0 in again.pairs()[0].pending()


def test_a_read_only_directory_is_told(small_disk: Path) -> None:
    StorageSystem.create(small_disk / "s", "100a").close()
    _remount(small_disk, "ro")
    with pytest.raises(ReadOnlyError) as caught:
        StorageSystem.create(small_disk / "t", "100b")
    assert str(small_disk / "t") in str(caught.value)
    assert caught.value.hint
    with pytest.raises(ReadOnlyError) as caught:
        StorageSystem.open(small_disk / "s")
    assert str(small_disk / "s") in str(caught.value)
    _remount(small_disk, "rw")
    StorageSystem.open(small_disk / "s").close()


# --- volumes --------------------------------------------------------------------------------------


@pytest.fixture
def system(site: Site) -> StorageSystem:
    return site.make("100a", "105a", "106a")


def test_a_new_volume_is_sparse_and_reads_as_zeros(system: StorageSystem) -> None:
    volume = system.create_volume("new", 100 * MIB + 1)
    assert volume.size_bytes == 100 * MIB + 1
    assert volume.pread(10, 100 * MIB - 9) == bytes(10)
    assert Path(volume.path).stat().st_blocks == 0
    assert volume.rows == ()
    assert [one.volume_id for one in system.volumes()] == ["105a", "106a", "new"]


def test_what_is_written_is_read_back_and_zero_and_trim_read_as_zeros(
    system: StorageSystem,
) -> None:
    volume = system.volume("105a")
    volume.pwrite(memoryview(b"0123456789"), 5)
    assert volume.pread(10, 5) == b"0123456789"
    buffer = bytearray(4)
    volume.pread_into(buffer, 6)
    assert buffer == b"1234"
    volume.zero(3, 5)
    volume.trim(3, 12)
    volume.flush()
    assert volume.pread(10, 5) == b"\0\0\x003456\0\0\0"


def test_an_empty_range_is_fine_at_the_very_end(system: StorageSystem) -> None:
    volume = system.volume("105a")
    assert volume.pread(0, SIZE) == b""
    volume.pwrite(b"", SIZE)
    volume.zero(0, SIZE)


@pytest.mark.parametrize(
    ("length", "offset"), [(1, SIZE), (2, SIZE - 1), (1, 2**63), (SIZE + 1, 0)]
)
def test_a_range_past_the_end_is_refused_whole(
    system: StorageSystem, length: int, offset: int
) -> None:
    volume = system.volume("105a")
    fill(volume, 1)
    before = content(volume)
    for attempt in (
        lambda: volume.pread(length, offset),
        lambda: volume.pwrite(bytes(length), offset),
        lambda: volume.zero(length, offset),
        lambda: volume.trim(length, offset),
    ):
        with refused(OutOfRangeError, system, names="105a", hint=False):
            attempt()
    assert content(volume) == before


def test_a_negative_range_is_refused(system: StorageSystem) -> None:
    volume = system.volume("105a")
    for attempt in (
        lambda: volume.pread(-1, 0),
        lambda: volume.pwrite(b"x", -1),
        lambda: volume.zero(-1, 0),
        lambda: volume.trim(1, -1),
    ):
        with refused(InvalidArgumentError, system, names="-1", hint=False):
            attempt()


def test_a_duplicate_volume_id_is_refused(system: StorageSystem) -> None:
    with refused(ExistsError, system, names="105a"):
        system.create_volume("105a", SIZE)


@pytest.mark.parametrize("size", [0, -1, 2**63])
def test_a_volume_has_bytes_and_no_more_than_a_file_may_have(
    system: StorageSystem, size: int
) -> None:
    with refused(InvalidArgumentError, system, names=str(size), hint=False):
        system.create_volume("new", size)


def test_unknown_volumes_are_named_with_those_there_are(system: StorageSystem) -> None:
    with refused(NotFoundError, system, names="999"):
        system.volume("999")
    with refused(NotFoundError, system, names="999"):
        system.delete_volume("999")


def test_a_file_left_by_an_interrupted_creation_is_named(system: StorageSystem) -> None:
    stray = system.directory / "volumes" / "new.img"
    stray.write_bytes(b"x")
    with refused(ExistsError, system, names="new.img"):
        system.create_volume("new", SIZE)
    stray.unlink()
    system.create_volume("new", SIZE)


def test_a_deleted_volume_takes_its_own_file_along_and_leaves_an_attached_one(
    system: StorageSystem, tmp_path: Path
) -> None:
    own = Path(system.volume("106a").path)
    system.delete_volume("106a")
    assert not own.exists()
    mine = tmp_path / "mine.img"
    mine.write_bytes(bytes(SIZE))
    system.attach_volume("mine", mine)
    system.delete_volume("mine")
    assert mine.stat().st_size == SIZE
    system.attach_volume("mine", mine)


def test_a_volume_in_a_pair_is_not_deleted(system: StorageSystem) -> None:
    system.create_local_pair("105a", "106a").wait(timeout_s=LONG_S)
    for volume in ("105a", "106a"):
        with refused(RefusedError, system, names="100a.1"):
            system.delete_volume(volume)


def test_a_volume_that_is_being_read_is_not_deleted_and_goes_on(system: StorageSystem) -> None:
    volume = system.volume("105a")
    with volume.io() as io:
        with refused(BusyError, system, names="105a"):
            system.delete_volume("105a")
        io.pwrite(b"still", 0)
        assert volume.pread(5, 0) == b"still"
    system.delete_volume("105a")


def test_a_volume_as_storage_writes_through_the_tracked_path(system: StorageSystem) -> None:
    pair = system.create_local_pair("105a", "106a")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    with system.volume("105a").io() as io:
        io.pwrite(b"x", 2 * CHUNK)
        io.zero(1, 7 * CHUNK)
        io.flush()
        assert io.size_bytes == SIZE
    assert list(pair.pending()) == [2, 7]


# --- backing files --------------------------------------------------------------------------------


def test_an_attached_file_keeps_its_content_and_is_found_again(site: Site) -> None:
    system = site.make("100a")
    path = site.root / "mine.img"
    path.write_bytes(b"content" + bytes(SIZE))
    assert system.attach_volume("mine", path).pread(7, 0) == b"content"
    system = site.reopen("100a")
    assert system.volume("mine").pread(7, 0) == b"content"
    assert system.volume("mine").path == str(path)


def test_one_file_is_one_volume_also_by_other_names(system: StorageSystem, tmp_path: Path) -> None:
    path = tmp_path / "mine.img"
    path.write_bytes(bytes(SIZE))
    system.attach_volume("mine", path)
    link, soft = tmp_path / "hard.img", tmp_path / "soft.img"
    link.hardlink_to(path)
    soft.symlink_to(path)
    for name in (path, link, soft, str(path), Path(system.volume("105a").path)):
        with refused(ExistsError, system, names=str(name)):
            system.attach_volume("again", name)


def test_one_file_is_one_volume_across_systems(system: StorageSystem, site: Site) -> None:
    path = site.root / "mine.img"
    path.write_bytes(bytes(SIZE))
    system.attach_volume("mine", path)
    other = site.make("100b")
    hard = site.root / "hard.img"
    hard.hardlink_to(path)
    for name in (path, hard):
        with refused(InUseError, system, other, names=name.name):
            other.attach_volume("mine", name)
    system.close()
    other.attach_volume("mine", path)
    with pytest.raises(InUseError, match=r"mine\.img"):
        site.open("100a")


def test_what_is_no_file_with_content_is_not_attached(
    system: StorageSystem, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("empty", "directory", "fifo"):
        with refused(InvalidArgumentError, system, names=name, hint=False):
            system.attach_volume("mine", tmp_path / name)
    with refused(NotFoundError, system, names="nowhere", hint=False):
        system.attach_volume("mine", tmp_path / "nowhere")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with refused(NotFoundError, system, names="dangling", hint=False):
        system.attach_volume("mine", tmp_path / "dangling")


# --- groups, paths --------------------------------------------------------------------------------


def test_a_group_has_the_status_of_its_worst_member(rig: Rig) -> None:
    pairs = [
        rig.a.create_remote_pair("105a", "100b", "105b", group="g"),
        rig.a.create_remote_pair("106a", "100b", "106b", group="g"),
    ]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
    assert rig.a.group_status("g") == GroupStatus(status=PairStatus.DUPLEX)
    pairs[0].split()
    assert rig.a.group_status("g") == GroupStatus(
        status=PairStatus.SPLIT, cause=SplitCause.REQUESTED
    )
    with refused(NotFoundError, rig.a, names="no pair in group none"):
        rig.a.group_status("none")


def test_local_and_remote_pairs_are_not_split_with_one_command(rig: Rig) -> None:
    rig.remote()
    local = rig.a.create_local_pair("105a", "106a")
    local.wait(timeout_s=LONG_S)
    with refused(InvalidArgumentError, rig.a, names="local and remote", hint=False):
        rig.a.split_pairs(["100a.1", local.pair_id])
    with refused(NotFoundError, rig.a, names="100a.9"):
        rig.a.split_pairs([local.pair_id, "100a.9"])


def test_a_system_is_not_connected_to_itself_or_its_namesake(site: Site) -> None:
    one = site.make("100a")
    with pytest.raises(WireError, match="own id") as caught:
        connect(one, one)
    assert caught.value.hint
    other = StorageSystem.create(site.root / "namesake", "100a")
    with other, pytest.raises(WireError, match="own id"):
        connect(one, other)


def test_a_closed_system_is_not_connected(site: Site) -> None:
    one, other = site.make("100a"), site.make("100b")
    other.close()
    with pytest.raises(InvalidArgumentError, match="100b is closed"):
        connect(one, other)
    assert not one.state.peers or not any(peer.is_connected for peer in one.state.peers.values())


# --- the end --------------------------------------------------------------------------------------


_ENDS = (CancelledError, InvalidArgumentError, FencedError)


class _Crowd:
    """Threads that work on systems until one of them is closed; nothing else may stop them."""

    def __init__(self, closing: StorageSystem) -> None:
        self.closing = closing
        self.failures: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def add(self, work: Callable[[int], object]) -> None:
        """Let another thread do this, again and again, with a number that counts."""
        thread = threading.Thread(target=self._run, args=(work,))
        self.threads.append(thread)
        thread.start()

    def _run(self, work: Callable[[int], object]) -> None:
        for number in itertools.count():
            try:
                work(number)
            except _ENDS:
                return
            except PyrepError:
                pass
            except BaseException as error:  # noqa: BLE001 - told to the test
                self.failures.append(error)
                return
            if self.closing.state.closing:
                return

    def join(self) -> None:
        """Wait for all of them; raise what one of them raised."""
        for thread in self.threads:
            thread.join()
        assert not self.failures


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("who", ["100a", "100b"])
def test_closing_under_writers_and_commands_ends_them_with_an_error_and_loses_nothing(
    rig: Rig, who: str, crash: bool
) -> None:
    pair, local = rig.remote(), rig.local()
    system = rig.systems[who]
    crowd = _Crowd(system)
    crowd.add(lambda number: fill(rig.pvol, number, count=2))
    crowd.add(lambda number: local.resync() if number % 2 else local.split())
    crowd.add(lambda _: (pair.status(), local.status(), local.pending()))
    fill(rig.pvol, 99)
    if crash:
        system.abort()
    else:
        system.close()
    crowd.join()
    for other in rig.systems.values():
        other.close()
    for system_id in ("100a", "100b"):
        rig.open(system_id)
    rig.reconnect()
    again = rig.a.pair(pair.pair_id)
    again.wait(timeout_s=LONG_S)
    rig.both(again, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_system_closes_while_the_path_is_stalled(rig: Rig) -> None:
    rig.options["100a"] = Options(ack_timeout_s=0.3)
    rig.reopen("100a")
    rig.reconnect()
    pair = rig.remote()
    rig.path.stall()
    writer = threading.Thread(target=_until_refused, args=(rig,))
    writer.start()
    rig.a.close()
    writer.join()
    rig.open("100a")
    rig.reconnect()
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)


def _until_refused(rig: Rig) -> None:
    volume = rig.pvol
    try:
        while True:
            volume.pwrite(b"slow", 0)
    except PyrepError:
        return


def test_a_flush_waits_for_no_command_that_makes_a_row_durable(rig: Rig) -> None:
    rig.pvol.pwrite(b"written", 0)
    flusher = threading.Thread(target=rig.pvol.flush)
    with rig.a.state.control:  # as such a command holds it
        flusher.start()
        flusher.join(LONG_S)
        assert not flusher.is_alive()


def test_a_flush_of_a_system_that_is_closed_is_refused(rig: Rig) -> None:
    volume = rig.pvol
    rig.a.close()
    with pytest.raises(_ENDS, match="clos"):
        volume.flush()


def test_a_file_system_left_open_keeps_its_memory_when_the_system_closes(site: Site) -> None:
    site.options["100a"] = Options(ack_timeout_s=0.1)
    system = site.make("100a", "105a")
    io = system.volume("105a").io()
    system.close()
    with pytest.raises(PyrepError):
        io.pwrite(b"late", 0)
    io.close()
