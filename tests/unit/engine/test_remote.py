"""Remote pairs: what is written arrives; splits, groups, protection, third systems."""

from __future__ import annotations

import contextlib
import threading

import pytest

from pyrep.errors import (
    FencedError,
    RefusedError,
)
from pyrep.model import AckPoint, Direction, GenerationCause, PairStatus, SplitCause
from pyrep.testing import wait_until
from rig import CHUNK, LONG_S, SIZE, Rig, content, equal, fill, refused, row_of


@pytest.mark.parametrize("ack", [AckPoint.RECEIVED, AckPoint.DURABLE])
def test_a_synchronous_write_is_at_the_secondary_when_it_returns(rig: Rig, ack: AckPoint) -> None:
    pair = rig.remote(ack=ack)
    assert equal(rig.pvol, rig.spvol)
    for seed in range(3):
        fill(rig.pvol, 10 + seed)
        assert equal(rig.pvol, rig.spvol)
    rig.pvol.zero(CHUNK, 0)
    rig.pvol.trim(CHUNK, 2 * CHUNK)
    rig.pvol.flush()
    assert equal(rig.pvol, rig.spvol)
    assert pair.status().pending_count == 0
    assert row_of(rig.b, pair).status is PairStatus.DUPLEX
    assert pair.group_id == "pair-100a.1"


def test_a_requested_split_lets_hosts_write_on_both_sides_and_forward_overwrites(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    for system in (rig.a, rig.b):
        assert row_of(system, pair).cause is SplitCause.REQUESTED
    rig.pvol.pwrite(b"a", 3 * CHUNK)
    rig.spvol.pwrite(b"b", 5 * CHUNK)
    assert 5 in rig.b.pair(pair.pair_id).pending()
    assert 3 in pair.pending()
    expected = content(rig.pvol)
    job = pair.resync(discard="100b")
    assert job is not None
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_a_requested_split_is_not_resumed_by_a_path_that_returns(rig: Rig) -> None:
    pair = rig.remote()
    rig.path.cut()
    pair.split()
    assert pair.status().cause is SplitCause.REQUESTED
    assert row_of(rig.b, pair).cause is SplitCause.PATH_LOST
    rig.path.connect()
    wait_until(lambda: row_of(rig.b, pair).cause is SplitCause.REQUESTED)
    assert pair.status().status is PairStatus.SPLIT
    with pytest.raises(RefusedError, match="won't be DUPLEX"):
        pair.wait(timeout_s=LONG_S)


def test_host_writes_to_the_secondary_during_the_handover_of_a_resync_are_shown_or_overwritten(
    rig: Rig,
) -> None:
    pair = rig.remote()
    stop = threading.Event()

    def write() -> None:
        seed = 0
        while not stop.is_set():
            seed += 1
            with contextlib.suppress(FencedError):
                fill(rig.spvol, seed, count=1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(15):
            pair.split()
            try:
                job = pair.resync()
            except RefusedError:  # they have begun, before or after the two sides had met
                job = pair.resync(direction=Direction.FORWARD)
            assert job is not None
            job.wait(LONG_S)
            assert equal(rig.pvol, rig.spvol)
    finally:
        stop.set()
        writer.join()


def test_split_of_a_group_is_at_one_point_of_the_writes(rig: Rig) -> None:
    pairs = [
        rig.a.create_remote_pair("105a", "100b", "105b", group="g"),
        rig.a.create_remote_pair("106a", "100b", "106b", group="g"),
    ]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            rig.a.volume("105a").pwrite(number.to_bytes(8, "little"), 0)
            rig.a.volume("106a").pwrite(number.to_bytes(8, "little"), 0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            rig.a.split_pairs([pair.pair_id for pair in pairs])
            first, second = (
                int.from_bytes(content(rig.b.volume(one))[:8], "little") for one in ("105b", "106b")
            )
            assert first - second in {0, 1}
            for pair in pairs:
                job = pair.resync()
                assert job is not None
                job.wait(LONG_S)
    finally:
        stop.set()
        writer.join()


def test_protect_splits_the_secondary_local_mirrors_before_a_forward_copy(rig: Rig) -> None:
    pair, local = rig.remote(), rig.local()
    rig.path.cut()
    before = content(rig.spvol)
    fill(rig.pvol, 3)
    rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    assert local.status().cause is SplitCause.PROTECT
    assert content(rig.svol) == before
    generation = rig.b.list_generations()[-1]
    assert generation.cause is GenerationCause.PROTECT
    assert generation.is_complete
    assert local.status().pending_count > 0


def test_no_protective_generation_when_nothing_is_to_be_copied(rig: Rig) -> None:
    pair, local = rig.remote(), rig.local()
    rig.path.cut()
    pair_row = row_of(rig.a, pair)
    assert pair_row.status is PairStatus.SPLIT
    job = rig.a.state.mirror(pair.pair_id)
    job.link.clean()
    rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    assert local.status().status in {PairStatus.DUPLEX, PairStatus.SPLIT}


def test_a_third_system_collects_in_the_same_secondary(rig: Rig) -> None:
    pair = rig.remote(group="g")
    rig.b.create_volume("205b", SIZE)
    third = rig.make("100c", "105c")
    path = rig.connect("100c", "100b")
    fill(third.volume("105c"), 3)
    other = third.create_remote_pair("105c", "100b", "205b", group="g")
    other.wait(timeout_s=LONG_S)
    with refused(RefusedError, rig.a, rig.b, third, names="105b"):
        third.create_remote_pair("105c", "100b", "105b")
    path.cut()
    assert row_of(rig.b, other).cause is SplitCause.PATH_LOST
    assert row_of(rig.b, pair).status is PairStatus.DUPLEX
    fill(rig.pvol, 4)
    fill(third.volume("105c"), 4)
    path.connect()
    other.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
    assert equal(third.volume("105c"), rig.b.volume("205b"))
