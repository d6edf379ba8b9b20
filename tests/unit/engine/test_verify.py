"""Digests and verifying."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest
from pyroaring import BitMap

from pyrep.engine import Cancel, Options, Progress, StorageSystem
from pyrep.engine.digests import DigestStore, SpanDigests
from pyrep.engine.options import Digests
from pyrep.errors import (
    CancelledError,
    DamagedGenerationError,
    FormatError,
    InvalidArgumentError,
    NoSpaceError,
    RefusedError,
)
from pyrep.model import SPAN_BYTES, Generation, VolumeId, new_key
from rig import LONG_S, MIB, Site

SPANS = 7
SIZE = SPANS * MIB - 1000  # the last span is shorter


@pytest.fixture
def system(site: Site) -> StorageSystem:
    """100b with 105b, written in spans 1, 3 and 6, and two local mirrors."""
    site.options["100b"] = Options(digests=Digests.WHEN_ASKED)
    system = site.make("100b", "105b", "106b", "107b", size=SIZE)
    for name in ("106b", "107b"):
        system.create_local_pair("105b", name).wait(timeout_s=LONG_S)
    for span in (1, 3, 6):
        system.volume("105b").pwrite(b"data" * 100, span * MIB + 77)
    return system


def split(system: StorageSystem, number: int = 1) -> Generation:
    made = system.pair(f"100b.{number}").split()
    assert made is not None
    return made


def damage(system: StorageSystem, svol: str, offset: int, data: bytes = b"\xff") -> None:
    """Change bytes below the system, as a bad disk does."""
    system.state.live[svol].io.pwrite(data, offset)  # type: ignore[index]


def read_spans(system: StorageSystem, generation: Generation, *, again: bool = False) -> int:
    """Compute digests and return how many spans were read."""
    seen: list[Progress] = []
    system.kept(generation.generation_id).digest(progress=seen.append, again=again)
    return len(seen)


def test_a_sound_generation_is_verified_whole(system: StorageSystem) -> None:
    kept = system.kept(split(system).generation_id)
    kept.digest()
    seen: list[Progress] = []

    result = kept.verify(progress=seen.append)

    assert result.is_sound
    result.raise_if_damaged()
    assert (result.checked_spans, result.checked_bytes) == (SPANS, SIZE)
    assert seen[-1].done_bytes == SIZE


def test_what_a_second_mirror_holds_is_verified_when_the_first_one_is_copied_anew(
    system: StorageSystem,
) -> None:
    generation = system.split_pairs(["100b.1", "100b.2"])
    assert generation is not None
    kept = system.kept(generation.generation_id)
    kept.digest()
    damage(system, "107b", 4 * MIB)
    pair = system.pair("100b.1")
    pair.resync()
    pair.wait(timeout_s=LONG_S)

    kept.digest()  # has them already, and doesn't take the damage for the content

    assert [(one.svol, one.offset) for one in kept.verify().damaged] == [("107b", 4 * MIB)]


@pytest.mark.parametrize(
    ("offset", "data", "found"),
    [
        (0, b"\1", (0, MIB)),  # of a span that was a hole
        (MIB + 77, b"D", (MIB, MIB)),
        (SIZE - 1, b"\1", (6 * MIB, MIB - 1000)),
        (3 * MIB, bytes(MIB), (3 * MIB, MIB)),  # it lost everything
        (2 * MIB - 1, b"\1\1", (MIB, 2 * MIB)),  # adjacent spans are one extent
    ],
)
def test_what_is_damaged_is_named(
    system: StorageSystem, offset: int, data: bytes, found: tuple[int, int]
) -> None:
    kept = system.kept(split(system).generation_id)
    kept.digest()
    damage(system, "106b", offset, data)

    result = kept.verify()

    assert [(one.offset, one.length) for one in result.damaged] == [found]
    assert (result.damaged[0].source, result.damaged[0].svol) == ("105b", "106b")
    with pytest.raises(
        DamagedGenerationError, match=f"first at {found[0]} of volume 106b"
    ) as caught:
        result.raise_if_damaged()
    assert caught.value.exit_code == 34
    assert not kept.verify().is_sound


@pytest.mark.parametrize("offset", [0, 3 * MIB])  # of a hole, and of data
def test_who_does_as_the_error_of_a_damaged_generation_says_has_a_sound_mirror(
    system: StorageSystem, offset: int
) -> None:
    kept = system.kept(split(system).generation_id)
    kept.digest()
    damage(system, "106b", offset)
    with pytest.raises(DamagedGenerationError) as caught:
        kept.verify().raise_if_damaged()

    hint = caught.value.hint or ""
    assert "dissolve pair 100b.1" in hint
    assert "create_local_pair('105b', '106b')" in hint
    system.pair("100b.1").dissolve()
    system.create_local_pair("105b", "106b").wait(timeout_s=LONG_S)

    here, there = (system.state.live[VolumeId(one)].io for one in ("105b", "106b"))
    assert here.pread(SIZE, 0) == there.pread(SIZE, 0)


def test_a_share_is_chosen_by_its_seed_and_rounded_up(system: StorageSystem) -> None:
    kept = system.kept(split(system).generation_id)
    kept.digest()
    assert kept.verify(1, seed=1).checked_spans == 1
    assert kept.verify(50, seed=1).checked_spans == 4
    damage(system, "106b", 5 * MIB)
    found = [kept.verify(30, seed=seed).is_sound for seed in range(20)]
    assert found == [kept.verify(30, seed=seed).is_sound for seed in range(20)]
    assert True in found
    assert False in found


@pytest.mark.parametrize("percentage", [0, -1, 100.1])
def test_a_share_that_cannot_be_is_refused(system: StorageSystem, percentage: float) -> None:
    with pytest.raises(InvalidArgumentError):
        system.kept(split(system).generation_id).verify(percentage)


def test_without_digests_nothing_can_be_verified(system: StorageSystem) -> None:
    kept = system.kept(split(system).generation_id)
    with pytest.raises(RefusedError, match="no digests yet") as caught:
        kept.verify()
    assert caught.value.hint is not None
    assert "digest()" in caught.value.hint


def test_only_what_was_written_since_the_generation_before_is_read(system: StorageSystem) -> None:
    assert read_spans(system, split(system)) == 3
    assert read_spans(system, system.list_generations()[0]) == 0
    system.volume("105b").pwrite(b"more", 4 * MIB)
    system.volume("105b").zero(MIB, 3 * MIB)
    system.volume("105b").pwrite(bytes(100), MIB + 77)
    second = split(system, 2)

    assert read_spans(system, second) <= 3
    kept = system.kept(second.generation_id)
    assert kept.verify().is_sound
    carried = kept.verify()
    damage(system, "107b", 6 * MIB + 80)
    assert [one.offset for one in kept.verify().damaged] == [6 * MIB]
    assert carried.is_sound


def test_a_carried_digest_is_of_what_was_written_not_of_what_is_there(
    system: StorageSystem,
) -> None:
    """Damage of the newer SVOL in a span that wasn't written is found: its digest was carried."""
    first = split(system)
    read_spans(system, first)
    second = split(system, 2)
    damage(system, "107b", 3 * MIB + 5)
    read_spans(system, second)
    assert [one.offset for one in system.kept(second.generation_id).verify().damaged] == [3 * MIB]
    read_spans(system, second, again=True)
    assert system.kept(second.generation_id).verify().is_sound


def test_digests_are_kept_over_a_close_and_a_crash(system: StorageSystem, site: Site) -> None:
    generation = split(system)
    read_spans(system, generation)
    for crash in (False, True):
        system = site.reopen("100b", crash=crash)
        assert system.kept(generation.generation_id).verify().is_sound


def test_a_cancelled_run_goes_on_where_it_was(system: StorageSystem, site: Site) -> None:
    generation = split(system)
    kept = system.kept(generation.generation_id)
    cancel = Cancel()
    with pytest.raises(CancelledError):
        kept.digest(progress=lambda _: cancel.cancel(), cancel=cancel)
    with pytest.raises(RefusedError, match="of all of it yet"):
        kept.verify()
    system = site.reopen("100b")
    assert read_spans(system, generation) == 2
    assert system.kept(generation.generation_id).verify().is_sound
    stop = Cancel()
    stop.cancel()
    with pytest.raises(CancelledError):
        system.kept(generation.generation_id).verify(cancel=stop)


@pytest.mark.parametrize("stop_after", [1, 2, 3, 9])
def test_carried_and_resumed_digests_are_those_of_reading_everything(
    system: StorageSystem, stop_after: int
) -> None:
    read_spans(system, split(system))
    volume = system.volume("105b")
    volume.pwrite(b"new", 2 * MIB)
    volume.trim(MIB, 3 * MIB)
    volume.pwrite(b"new", 5 * MIB - 1)
    volume.pwrite(bytes(MIB), MIB)
    kept = system.kept(split(system, 2).generation_id)
    cancel, seen = Cancel(), []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == stop_after:
            cancel.cancel()

    with contextlib.suppress(CancelledError):
        kept.digest(progress=stop, cancel=cancel)
    kept.digest()
    carried = system.changes.digests(kept.record, VolumeId("105b"))
    kept.digest(again=True)

    assert carried == system.changes.digests(kept.record, VolumeId("105b"))
    assert carried is not None
    assert list(carried.spans) == [2, 4, 5, 6]


@pytest.mark.parametrize("harm", ["flip", "cut", "swap", "remove"])
def test_a_damaged_digest_file_is_never_believed(system: StorageSystem, harm: str) -> None:
    first, second = split(system), split(system, 2)
    for generation in (first, second):
        read_spans(system, generation)
    files = sorted((system.directory / "digests").iterdir())
    for path in files:
        data = bytearray(path.read_bytes())
        if harm == "flip":
            data[-3] ^= 1
        elif harm == "cut":
            del data[-16:]
        path.write_bytes(data)
        if harm == "remove":
            path.unlink()
    if harm == "swap":
        one, other = (path.read_bytes() for path in files)
        files[0].write_bytes(other)
        files[1].write_bytes(one)
    for generation in (first, second):
        kept = system.kept(generation.generation_id)
        with pytest.raises(FormatError, match="cannot use the digests") as caught:
            kept.verify()
        assert caught.value.hint is not None
        kept.digest(again=True)
        assert kept.verify().is_sound
    assert len(list((system.directory / "digests").iterdir())) == 2


def test_the_digests_of_a_generation_given_up_are_forgotten(
    system: StorageSystem, site: Site
) -> None:
    read_spans(system, split(system))
    job = system.pair("100b.1").resync()
    assert job is not None
    job.wait(LONG_S)
    assert system.state.digests.all() == ()
    site.options["100b"] = Options()
    system = site.reopen("100b")
    for thread in list(system.state.threads):
        thread.join()
    assert list((system.directory / "digests").iterdir()) == []


def test_a_generation_given_up_while_it_is_digested_gets_no_digests(
    system: StorageSystem,
) -> None:
    """In the background nothing is pinned: what was read while it was overwritten is dropped."""
    generation = split(system)
    member = generation.members[0]
    digester = system.digester
    read, given_up = threading.Event(), threading.Event()

    def over() -> bool:
        read.set()
        given_up.wait(LONG_S)
        return False

    thread = threading.Thread(
        target=lambda: digester._digest(generation, member, over),
    )
    thread.start()
    assert read.wait(LONG_S)
    job = system.pair("100b.1").resync()
    assert job is not None
    job.wait(LONG_S)
    given_up.set()
    thread.join()
    assert system.state.digests.all() == ()
    assert list((system.directory / "digests").iterdir()) == []


def test_a_full_disk_leaves_a_generation_without_digests(
    system: StorageSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = system.kept(split(system).generation_id)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pyrep.engine.digests.os.fsync", full)
        with pytest.raises(NoSpaceError):
            kept.digest()
    assert list((system.directory / "digests").iterdir()) == []
    kept.digest()
    assert kept.verify().is_sound


def test_zero_spans_take_no_room(tmp_path: Path) -> None:
    """A volume of 15 TiB with two spans of data: a file of some hundred bytes."""
    store, key, volume = DigestStore(tmp_path / "d", new_key()), new_key(), new_key()
    size = 15 << 40
    digests = SpanDigests(
        size_bytes=size, done=size // SPAN_BYTES, spans=BitMap([3, 9_000_000]), values=bytes(32)
    )
    store.save(key, volume, digests)
    assert store.path_of(key).stat().st_size < 300
    assert store.load(key, volume, size) == digests
    with pytest.raises(FormatError, match="another system, volume"):
        store.load(key, new_key(), size)
    with pytest.raises(FormatError, match="another system, volume"):
        store.load(key, volume, size + 1)
