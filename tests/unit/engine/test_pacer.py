"""The pacer: a simulated copy on a simulated clock."""

from __future__ import annotations

import pytest

from pyrep.engine.pacer import Pacer
from pyrep.model import CopyRate

MIB = 1 << 20


def copy(
    pacer: Pacer,
    total_bytes: int,
    *,
    storage_bytes_s: float,
    crowded: float = 0.0,
    start_s: float = 1000.0,
) -> float:
    """Copy with one worker, in batches as the pacer wants them; return the seconds it took."""
    now_s, left = start_s, total_bytes
    while left > 0:
        batch = min(pacer.batch_bytes, left)
        took_s = batch / storage_bytes_s
        now_s += took_s
        left -= batch
        now_s += pacer.rest_s(
            now_s=now_s, took_s=took_s, sent_bytes=batch, passes=100, crowded=int(100 * crowded)
        )
    return now_s - start_s


def test_without_a_ceiling_and_without_hosts_it_never_rests() -> None:
    assert copy(Pacer(CopyRate()), 1000 * MIB, storage_bytes_s=1000 * MIB) == pytest.approx(1)


@pytest.mark.parametrize("ceiling", [1000, MIB, 50 * MIB])
def test_the_ceiling_holds_on_the_average(ceiling: int) -> None:
    pacer = Pacer(CopyRate(ceiling_bytes_s=ceiling))
    took_s = copy(pacer, 20 * ceiling, storage_bytes_s=1000 * MIB)
    assert took_s == pytest.approx(20, rel=0.02)


def test_a_ceiling_above_what_the_storage_does_changes_nothing() -> None:
    pacer = Pacer(CopyRate(ceiling_bytes_s=100 * MIB))
    assert copy(pacer, 100 * MIB, storage_bytes_s=50 * MIB) == pytest.approx(2)


def test_time_that_was_not_used_is_not_saved_up() -> None:
    pacer = Pacer(CopyRate(ceiling_bytes_s=10 * MIB))
    copy(pacer, 10 * MIB, storage_bytes_s=1000 * MIB, start_s=0)
    took_s = copy(pacer, 100 * MIB, storage_bytes_s=1000 * MIB, start_s=500)
    assert took_s == pytest.approx(10, rel=0.02)


def test_several_workers_share_one_ceiling() -> None:
    pacer = Pacer(CopyRate(ceiling_bytes_s=10 * MIB), workers=2)
    free_s = [0.0, 0.0]
    sent = 0
    while min(free_s) < 20:
        worker = free_s.index(min(free_s))
        now_s = free_s[worker] + 0.001
        sent += MIB
        free_s[worker] = now_s + pacer.rest_s(
            now_s=now_s, took_s=0.001, sent_bytes=MIB, passes=1, crowded=0
        )
    assert sent / 20 == pytest.approx(10 * MIB, rel=0.1)


def test_a_low_ceiling_goes_by_small_steps() -> None:
    assert Pacer(CopyRate(ceiling_bytes_s=MIB)).batch_bytes == MIB // 8
    assert Pacer(CopyRate(ceiling_bytes_s=1)).batch_bytes == 1


def test_a_new_ceiling_holds_from_now_on_and_forgives_what_was_owed() -> None:
    pacer = Pacer(CopyRate(ceiling_bytes_s=1))
    assert pacer.rest_s(now_s=0, took_s=0, sent_bytes=MIB, passes=1, crowded=0) == MIB
    pacer.change(CopyRate(ceiling_bytes_s=MIB))
    assert pacer.rest_s(now_s=1, took_s=0, sent_bytes=MIB, passes=1, crowded=0) == 1


@pytest.mark.parametrize("crowded", [0.1, 0.5, 0.8])
def test_beside_hosts_it_rests_by_the_share_in_which_it_met_them(crowded: float) -> None:
    alone_s = copy(Pacer(CopyRate()), 4000 * MIB, storage_bytes_s=4000 * MIB)
    beside_s = copy(Pacer(CopyRate()), 4000 * MIB, storage_bytes_s=4000 * MIB, crowded=crowded)
    assert alone_s / beside_s == pytest.approx(1 - crowded, rel=0.05)


def test_beside_hosts_that_are_always_there_it_still_ends() -> None:
    took_s = copy(Pacer(CopyRate()), 4000 * MIB, storage_bytes_s=4000 * MIB, crowded=1.0)
    assert took_s == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize("workers", [1, 2])
def test_hosts_never_push_it_below_its_floor(workers: int) -> None:
    pacer = Pacer(CopyRate(floor_bytes_s=80 * MIB), workers=workers)
    took_s = copy(pacer, 800 * MIB, storage_bytes_s=100 * MIB / workers, crowded=1.0)
    assert took_s == pytest.approx(10 * workers, rel=0.05)


def test_a_floor_that_the_storage_cannot_keep_means_no_rest() -> None:
    pacer = Pacer(CopyRate(floor_bytes_s=1000 * MIB))
    assert copy(pacer, 100 * MIB, storage_bytes_s=50 * MIB, crowded=1.0) == pytest.approx(2)


def test_a_batch_without_regions_says_nothing_of_hosts() -> None:
    pacer = Pacer(CopyRate())
    for _ in range(50):
        pacer.rest_s(now_s=0, took_s=1, sent_bytes=MIB, passes=10, crowded=10)
    assert pacer.rest_s(now_s=0, took_s=0.01, sent_bytes=10 * MIB, passes=0, crowded=0) > 0.05
