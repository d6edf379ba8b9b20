"""Retention and policies on a real system."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pyrep.engine import Options, StorageSystem
from pyrep.engine.options import Digests
from pyrep.errors import FencedError, NotFoundError, RefusedError
from pyrep.meta import PolicyRecord
from pyrep.model import (
    Generation,
    GenerationState,
    NextSvol,
    PairId,
    PairStatus,
    RetentionPolicy,
    VolumeId,
)
from pyrep.testing import wait_quiet, wait_until
from rig import LONG_S, SIZE, Site

LAST_1 = RetentionPolicy(keep_last=1)
NAMES = ("106b", "107b", "108b")


@pytest.fixture
def system(site: Site) -> StorageSystem:
    """100b with 105b and three local mirrors in DUPLEX, and 205b with one."""
    site.options["100b"] = Options(digests=Digests.WHEN_ASKED)
    system = site.make("100b", "105b", "205b", *NAMES, "206b")
    for name in NAMES:
        system.create_local_pair("105b", name).wait(timeout_s=LONG_S)
    system.create_local_pair("205b", "206b").wait(timeout_s=LONG_S)
    return system


def split(system: StorageSystem, *numbers: int, label: str = "") -> Generation:
    made = system.split_pairs([f"100b.{number}" for number in numbers], label=label)
    assert made is not None
    return made


def states(system: StorageSystem) -> dict[str, GenerationState]:
    return {one.label: one.state for one in system.list_generations()}


COMPLETE, GIVEN_UP = GenerationState.COMPLETE, GenerationState.GIVEN_UP


def test_what_no_rule_keeps_is_given_up_and_its_svol_takes_writes(system: StorageSystem) -> None:
    system.set_policy("105b", retention=LAST_1)
    one, two, three = (split(system, n, label=str(n)) for n in (1, 2, 3))
    system.protect_generation(two.generation_id)
    with pytest.raises(FencedError):
        system.volume("106b").pwrite(b"x", 0)

    report = system.apply_retention()

    assert report.given_up == (one.generation_id,)
    assert states(system) == {"1": GIVEN_UP, "2": COMPLETE, "3": COMPLETE}
    assert [line.split(" (")[0] for line in str(report).splitlines()] == [
        "volume 105b",
        f"keep {three.generation_id}",
        f"keep {two.generation_id}",
        f"give up {one.generation_id}",
    ]
    system.volume("106b").pwrite(b"x", 0)
    assert system.generation(one.generation_id).given_up_at is not None
    job = system.pair("100b.1").resync()
    assert job is not None
    job.wait(LONG_S)
    assert system.pair("100b.1").status().status is PairStatus.DUPLEX


def test_a_dry_run_reports_the_same_and_does_nothing(system: StorageSystem) -> None:
    system.set_policy(retention=LAST_1)
    for number in (1, 2):
        split(system, number, label=str(number))
    before = system.list_generations(), system.table()

    dry = system.apply_retention(dry_run=True)

    assert (system.list_generations(), system.table()) == before
    assert dry.dry_run
    real = system.apply_retention()
    assert (dry.plans, dry.given_up) == (real.plans, real.given_up)
    assert len(real.given_up) == 1
    assert system.apply_retention().given_up == ()


def test_what_was_given_up_stays_so_over_a_crash(system: StorageSystem, site: Site) -> None:
    system.set_policy(retention=LAST_1)
    for number in (1, 2):
        split(system, number, label=str(number))
    system.apply_retention()
    system = site.reopen("100b", crash=True)
    assert states(system) == {"1": GIVEN_UP, "2": COMPLETE}
    assert system.policy("105b").retention == LAST_1


def test_a_generation_of_two_volumes_goes_when_neither_keeps_it(system: StorageSystem) -> None:
    both = split(system, 1, 4, label="both")
    split(system, 2, label="alone")
    system.set_policy("105b", retention=LAST_1)
    assert system.apply_retention().given_up == ()
    system.set_policy("205b", retention=LAST_1)
    report = system.apply_retention("105b")
    assert report.given_up == ()
    assert "kept for volume 205b" in str(report)
    assert system.generation(both.generation_id).is_complete


def test_a_generation_in_use_is_left_and_said_so(system: StorageSystem) -> None:
    system.set_policy(retention=LAST_1)
    one = split(system, 1, label="1")
    split(system, 2, label="2")
    with system.generations.view(one.generation_id, one.members[0].source):
        report = system.apply_retention()
    assert report.given_up == ()
    assert "in use by view-" in str(report)
    assert system.apply_retention().given_up == (one.generation_id,)


def test_without_a_policy_nothing_is_given_up(system: StorageSystem) -> None:
    split(system, 1, label="1")
    assert system.apply_retention().plans == ()
    with pytest.raises(RefusedError, match="volume 105b: it has no policy") as caught:
        system.apply_retention("105b")
    assert caught.value.hint is not None
    with pytest.raises(NotFoundError):
        system.apply_retention("305b")
    with pytest.raises(NotFoundError):
        system.set_policy("305b", retention=LAST_1)


def test_a_policy_that_keeps_nothing_gives_up_nothing(system: StorageSystem) -> None:
    for number in (1, 2):
        split(system, number, label=str(number))
    system.set_policy(retention=RetentionPolicy(minimum=1))
    with pytest.raises(RefusedError, match="volume 105b: its policy keeps nothing"):
        system.apply_retention()
    assert states(system) == {"1": COMPLETE, "2": COMPLETE}


def test_old_rows_of_ended_generations_are_forgotten(system: StorageSystem) -> None:
    week = timedelta(days=7)
    system.set_policy(retention=RetentionPolicy(keep_last=1, forget_after=week))
    one = split(system, 1, label="1")
    split(system, 2, label="2")
    system.apply_retention()
    ended = system.generation(one.generation_id).given_up_at
    assert ended is not None
    assert system.apply_retention(now=ended + week).forgotten == ()
    later = ended + week + timedelta(seconds=1)
    assert system.apply_retention(now=later, dry_run=True).forgotten == (one.generation_id,)
    assert system.apply_retention(now=later).forgotten == (one.generation_id,)
    assert list(states(system)) == ["2"]


def test_the_policies_of_a_volume_go_with_it(system: StorageSystem) -> None:
    system.create_volume("305b", SIZE)
    system.set_policy("305b", next_svol=NextSvol.ALWAYS)
    system.set_policy("305b", retention=LAST_1)
    assert system.policy("305b").next_svol is NextSvol.ALWAYS
    system.delete_volume("305b")
    system.create_volume("305b", SIZE)
    assert system.policy("305b").next_svol is NextSvol.AT_BACKUP
    assert system.policy("305b").retention is None


# --- when the next SVOL is brought to DUPLEX -----------------------------------------------------


def duplex(system: StorageSystem) -> list[str]:
    """Let the watch look once, wait, and return the SVOLs in DUPLEX of 105b."""
    system._watch.look()
    wait_quiet(system)
    rows = [one.row for one in system.state.local_svol_mirrors("105b")]  # type: ignore[arg-type]
    return [row.mirror_volume_id for row in rows if row.status is PairStatus.DUPLEX]


@pytest.fixture
def full(system: StorageSystem) -> StorageSystem:
    """All three mirrors hold a generation; the watch looks when it is told."""
    system._watch.close()
    for number in (1, 2, 3):
        split(system, number, label=str(number))
    return system


def test_always_brings_the_oldest_mirror_to_duplex_at_backup_does_not(full: StorageSystem) -> None:
    full.next_svols.want_all()
    assert duplex(full) == []
    full.set_policy("105b", next_svol=NextSvol.ALWAYS)
    assert duplex(full) == ["106b"]
    assert states(full) == {"1": GIVEN_UP, "2": COMPLETE, "3": COMPLETE}
    assert duplex(full) == ["106b"]


def test_always_gives_up_nothing_that_is_protected_pinned_or_below_the_minimum(
    full: StorageSystem,
) -> None:
    one, two, three = full.list_generations()
    full.set_policy(
        "105b", next_svol=NextSvol.ALWAYS, retention=RetentionPolicy(keep_last=9, minimum=3)
    )
    assert duplex(full) == []
    full.kept(one.generation_id).pin("auditor")
    full.protect_generation(two.generation_id)
    full.set_policy("105b", retention=RetentionPolicy(keep_last=9))
    assert duplex(full) == []
    full.unprotect_generation(two.generation_id)
    full.next_svols.want_all()
    assert duplex(full) == ["107b"]
    assert full.generation(three.generation_id).is_complete


def test_always_waits_for_a_command_that_is_in_the_way(full: StorageSystem) -> None:
    full.set_policy("105b", next_svol=NextSvol.ALWAYS)
    with full.state.operation("test", [full.pair("100b.1").pair_id]):
        full._watch.look()
        assert states(full)["1"] is COMPLETE
    assert duplex(full) == ["106b"]


def test_what_changed_between_choice_and_resync_is_seen(
    full: StorageSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    full.set_policy("105b", next_svol=NextSvol.ALWAYS)
    refresh = full.local_pairs.breaks.refresh
    seen: list[str] = []

    def pin_the_chosen_one() -> None:
        refresh()
        if not seen:
            seen.append("once")
            full.kept(full.list_generations()[0].generation_id).pin("auditor")

    monkeypatch.setattr(full.local_pairs.breaks, "refresh", pin_the_chosen_one)
    full.next_svols.look()
    assert states(full)["1"] is COMPLETE
    monkeypatch.undo()
    assert duplex(full) == ["107b"]


def test_a_backup_during_a_look_is_not_forgotten_with_the_one_before(
    full: StorageSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    full._watch.close()
    full.set_policy("105b", next_svol=NextSvol.ALWAYS)
    choose = full.next_svols._choose
    looks: list[str] = []

    def backed_up_meanwhile(volume: VolumeId) -> PairId:
        looks.append(volume)
        if len(looks) == 1:
            full.next_svols.want(volume)
            raise RefusedError("no mirror is free")
        return choose(volume)

    monkeypatch.setattr(full.next_svols, "_choose", backed_up_meanwhile)
    full.next_svols.want_all()
    full.next_svols.look()
    full.next_svols.look()
    assert len(looks) > 1
    assert states(full)["1"] is GIVEN_UP


def test_always_goes_on_after_a_restart(full: StorageSystem, site: Site) -> None:
    full.state.policies.set(None, PolicyRecord(next_svol=NextSvol.ALWAYS))
    again = site.reopen("100b")
    wait_until(lambda: again.pair("100b.1").status().status is PairStatus.DUPLEX)
    assert states(again) == {"1": GIVEN_UP, "2": COMPLETE, "3": COMPLETE}


def test_now_defaults_to_the_clock(system: StorageSystem) -> None:
    system.set_policy(retention=RetentionPolicy(keep_within=timedelta(hours=1)))
    split(system, 1, label="1")
    split(system, 2, label="2")
    assert system.apply_retention().given_up == ()
    later = datetime.now(UTC) + timedelta(hours=2)
    assert len(system.apply_retention(now=later).given_up) == 1
