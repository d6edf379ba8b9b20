"""Data identifiers at work: who was written to, what was put back, and what is refused then."""

from __future__ import annotations

import shutil

import pytest

from pyrep.engine import ChangedBacking, Options, Pair
from pyrep.engine.peer import Peer
from pyrep.engine.remote_copies import RemoteCopies
from pyrep.engine.remote_copyjobs import RemoteCopyJobs
from pyrep.errors import FencedError, InvalidArgumentError, PathLostError, RefusedError
from pyrep.interconnect.messages import Answer, Message, SplitPair
from pyrep.model import Direction, Force, PairStatus, Relation, SplitCause
from pyrep.testing import check_durable_first, wait_until
from rig import CHUNK, LONG_S, Rig, content, equal, fill, refused, row_of


def _put_back(rig: Rig, system_id: str, *, copy: bool) -> None:
    """Close a system and keep a copy of its directory, or put that copy in its place."""
    here, kept = rig.root / system_id, rig.root / f"{system_id}.kept"
    rig.systems[system_id].close()
    if copy:
        shutil.copytree(here, kept)
    else:
        # Into the same files: these are what the tables recognise.
        for path in kept.rglob("*"):
            if path.is_file():
                shutil.copyfile(path, here / path.relative_to(kept))
                shutil.copystat(path, here / path.relative_to(kept))
    rig.options[system_id] = _assume_unchanged()
    rig.open(system_id)
    rig.reconnect()


def _assume_unchanged() -> Options:
    return Options(changed_backing=ChangedBacking.ASSUME_UNCHANGED)


def _resync(pair: Pair, **options: object) -> None:
    job = pair.resync(**options)  # type: ignore[arg-type]
    assert job is not None
    job.wait(LONG_S)


def test_a_secondary_that_nobody_wrote_to_keeps_its_identifier_until_the_first_write(
    rig: Rig,
) -> None:
    pair = rig.remote()
    pair.split()
    before = row_of(rig.b, pair).lineage
    assert not before.written
    rig.spvol.pwrite(b"x", 0)
    after = row_of(rig.b, pair).lineage
    assert after.written
    assert after.common == before.current != after.current
    rig.spvol.pwrite(b"y", CHUNK)
    assert row_of(rig.b, pair).lineage == after


def test_a_file_system_that_writes_from_c_is_noted_when_the_pair_is_split(rig: Rig) -> None:
    pair = rig.remote()
    with rig.spvol.io() as io:
        pair.split()
        assert row_of(rig.b, pair).lineage.written
        io.pwrite(b"x", 0)


def test_both_sides_take_the_sources_identifier_when_they_are_duplex(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.pvol, 2)
    _resync(pair)
    here, there = row_of(rig.a, pair).lineage, row_of(rig.b, pair).lineage
    assert here.current == there.current != 0
    assert (here.common, there.common, here.written, there.written) == (0, 0, False, False)


def test_two_sides_that_were_written_to_are_a_split_brain_with_the_choices_named(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.pvol, 2)
    fill(rig.spvol, 3)
    for direction in Direction:
        with pytest.raises(RefusedError, match="split brain") as caught:
            pair.resync(direction=direction)
        assert 'discard="100a"' in str(caught.value.hint)
        assert 'discard="100b"' in str(caught.value.hint)
    expected = content(rig.spvol)
    _resync(pair, discard="100a")
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_the_side_to_discard_must_be_the_one_that_is_overwritten(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    with pytest.raises(InvalidArgumentError, match="100b's side"):
        pair.resync(direction=Direction.FORWARD, discard="100a")
    with pytest.raises(InvalidArgumentError, match="no side at 100z"):
        pair.resync(discard="100z")


def test_an_old_copy_of_the_secondary_is_copied_to_in_full(rig: Rig) -> None:
    pair = rig.remote()
    _put_back(rig, "100b", copy=True)
    rig.both(pair, PairStatus.DUPLEX)
    fill(rig.pvol, 4)
    rig.both(pair, PairStatus.DUPLEX)
    _put_back(rig, "100b", copy=False)
    rig.both(pair, PairStatus.DUPLEX)
    wait_until(lambda: equal(rig.pvol, rig.spvol))


@pytest.mark.parametrize("ended", ["100a", "100b"])
def test_a_full_copy_that_a_crash_interrupts_is_a_full_one_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    """Both rows count from its identifier by then: next time the bits suffice, so all must be."""
    pair = rig.remote()
    _put_back(rig, "100b", copy=True)
    rig.both(pair, PairStatus.DUPLEX)
    fill(rig.pvol, 4)
    rig.both(pair, PairStatus.DUPLEX)
    rig.path.cut()
    pair = rig.reopen("100a").pair(pair.pair_id)  # no region is hot any more
    _stop_copies(monkeypatch)
    _put_back(rig, "100b", copy=False)
    rig.both(pair, PairStatus.COPY)
    check_durable_first(rig.a, rig.b)
    rig.path.cut()
    rig.reopen(ended, crash=True)
    monkeypatch.undo()
    rig.reconnect()
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


@pytest.mark.parametrize("discard", ["100a", "100b"])
def test_a_side_is_discarded_whole_also_when_a_crash_interrupts_that(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, discard: str
) -> None:
    pair = rig.remote()
    pair.split()
    _put_back(rig, "100b", copy=True)
    fill(rig.pvol, 4)
    _resync(rig.a.pair(pair.pair_id))
    rig.a.pair(pair.pair_id).split()
    fill(rig.pvol, 5)
    rig.path.cut()
    rig.reopen("100a")  # no region is hot any more
    _put_back(rig, "100b", copy=False)
    fill(rig.spvol, 6)
    rig.path.cut()
    rig.reopen("100b")
    rig.reconnect()
    _stop_copies(monkeypatch)
    pair = rig.a.pair(pair.pair_id)
    with pytest.raises(PathLostError, match="stopped here"):
        pair.resync(discard=discard)
    rig.both(pair, PairStatus.COPY)
    check_durable_first(rig.a, rig.b)
    kept = content(rig.spvol if discard == "100a" else rig.pvol)
    rig.path.cut()
    for system_id in ("100a", "100b"):
        rig.reopen(system_id, crash=True)
    monkeypatch.undo()
    rig.reconnect()
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == kept


def _stop_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let copies of remote pairs begin, and copy nothing."""

    def stopped(*_: object, **__: object) -> None:
        raise PathLostError("stopped here")

    monkeypatch.setattr(RemoteCopies, "start_forward", stopped)
    monkeypatch.setattr(RemoteCopyJobs, "start", stopped)


def test_an_old_copy_of_the_primary_never_goes_over_newer_data_by_itself(rig: Rig) -> None:
    pair = rig.remote()
    _put_back(rig, "100a", copy=True)
    pair = rig.a.pair(pair.pair_id)
    rig.both(pair, PairStatus.DUPLEX)
    fill(rig.pvol, 4)
    newest = content(rig.pvol)
    _put_back(rig, "100a", copy=False)
    pair = rig.a.pair(pair.pair_id)
    wait_until(lambda: pair.status().cause is SplitCause.SPLIT_BRAIN)
    assert content(rig.spvol) == newest
    with pytest.raises(RefusedError, match="an old copy"):
        pair.resync()
    told = pair.estimate()
    assert (told.relation, told.direction) == (Relation.FULL, Direction.REVERSE)
    assert told.copy_bytes == rig.pvol.size_bytes
    _resync(pair, direction=Direction.REVERSE)
    assert content(rig.pvol) == content(rig.spvol) == newest


def test_what_a_resync_would_copy_is_told_before_anything_is_done(rig: Rig) -> None:
    pair = rig.remote()
    assert pair.estimate().relation is Relation.NOTHING
    pair.split()
    rig.pvol.pwrite(b"a", 3 * CHUNK)
    told = pair.estimate()
    assert (told.relation, told.direction) == (Relation.BITMAP, Direction.FORWARD)
    assert (told.chunks, told.copy_bytes, told.refusal) == (1, CHUNK, None)
    rig.spvol.pwrite(b"b", 5 * CHUNK)
    told = pair.estimate()
    assert told.relation is Relation.SPLIT_BRAIN
    assert told.chunks == 2
    assert told.refusal is not None
    assert pair.estimate(discard="100b").refusal is None
    assert pair.status().status is PairStatus.SPLIT


def test_a_resync_that_names_no_direction_never_gives_up_what_the_svol_alone_was_written_with(
    rig: Rig,
) -> None:
    """The dry connect says reverse: the same command, not dry, mustn't go forward."""
    pair = rig.remote()
    pair.split()
    rig.spvol.pwrite(b"at b", 5 * CHUNK)
    told = pair.estimate()
    assert (told.relation, told.direction) == (Relation.BITMAP, Direction.REVERSE)
    why = "only the SVOL was written to since they were equal"
    assert why in str(told.refusal)
    assert told in rig.a.estimate_path("100b")
    with refused(RefusedError, rig.a, rig.b, names=why):
        pair.resync()
    for direction in Direction:
        assert pair.estimate(direction=direction).refusal is None
    _resync(pair, direction=Direction.REVERSE)
    assert rig.pvol.pread(4, 5 * CHUNK) == b"at b"
    pair.split()
    rig.spvol.pwrite(b"tried", 5 * CHUNK)
    _resync(pair, direction=Direction.FORWARD)  # said: it is given up
    assert rig.spvol.pread(5, 5 * CHUNK) == b"at b\0"
    assert equal(rig.pvol, rig.spvol)


def test_a_dry_connect_leaves_no_line_of_log_as_of_a_copy(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    pair = rig.remote()
    _put_back(rig, "100a", copy=True)
    rig.both(pair, PairStatus.DUPLEX)
    rig.pvol.pwrite(b"newer", 0)
    _put_back(rig, "100a", copy=False)
    again = rig.a.pair(pair.pair_id)
    wait_until(lambda: again.status().cause is SplitCause.SPLIT_BRAIN)
    caplog.clear()
    told = again.estimate(discard="100a")
    assert (told.relation, told.direction) == (Relation.FULL, Direction.REVERSE)
    assert "pair.meeting" not in caplog.text


def _stuck_half_way_back(rig: Rig) -> Pair:
    """Stop a copy back half-way; then 100b is put back into the middle of an earlier one."""
    pair = rig.remote()
    for seed in (5, 6):
        pair.split()
        fill(rig.spvol, seed)
        rig.path.stall()
        pair.resync(direction=Direction.REVERSE)
        rig.path.cut()
        _put_back(rig, "100b", copy=seed == 5)
        if seed == 5:
            rig.both(pair, PairStatus.DUPLEX)
    wait_until(lambda: pair.status().cause is SplitCause.SPLIT_BRAIN)
    return pair


def _is_split_brain_at_both(rig: Rig, pair: Pair) -> None:
    def is_so() -> bool:
        return row_of(rig.b, pair).cause is SplitCause.SPLIT_BRAIN

    wait_until(is_so)
    for system in (rig.a, rig.b):
        row = row_of(system, pair)
        assert (row.status, row.direction) == (PairStatus.SPLIT, Direction.REVERSE)


def test_a_copy_back_that_meets_a_split_brain_ends_at_both_sides(rig: Rig) -> None:
    """Else the secondary says COPY for ever, and nothing may be restored into its volume."""
    local = rig.local()
    local.split()
    generation = content(rig.svol)
    pair = _stuck_half_way_back(rig)
    _is_split_brain_at_both(rig, pair)
    with pytest.raises(RefusedError, match="only reverse resumes"):
        pair.resync(discard="100b")
    _resync(rig.b.pair(local.pair_id), direction=Direction.REVERSE)
    assert content(rig.spvol) == generation
    rig.spvol.pwrite(b"hosts, too", 0)
    expected = content(rig.spvol)
    _resync(pair, discard="100a")
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_a_half_way_side_of_a_split_brain_is_kept_only_by_force(rig: Rig) -> None:
    pair = _stuck_half_way_back(rig)
    _resync(pair, discard="100b", force=Force.INCONSISTENT_SOURCE)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_split_brain_that_the_secondary_was_not_told_of_is_told_when_the_path_is_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Peer.ask

    def lost(peer: Peer, message: Message) -> Answer:
        if isinstance(message, SplitPair) and message.cause == SplitCause.SPLIT_BRAIN:
            raise PathLostError("the path was lost")
        return ask(peer, message)

    with monkeypatch.context() as patch:
        patch.setattr(Peer, "ask", lost)
        pair = _stuck_half_way_back(rig)
        assert row_of(rig.b, pair).status is PairStatus.COPY
    rig.path.cut()
    rig.path.connect()
    _is_split_brain_at_both(rig, pair)


def test_a_target_is_still_closed_to_hosts(rig: Rig) -> None:
    rig.remote()
    with pytest.raises(FencedError):
        rig.spvol.pwrite(b"x", 0)


def test_a_dry_connect_tells_of_all_pairs_of_a_path_and_does_nothing(rig: Rig) -> None:
    for side, volume in ((rig.a, "205a"), (rig.b, "205b")):
        side.create_volume(volume, rig.pvol.size_bytes)
    pair, other = rig.remote(), rig.a.create_remote_pair("205a", "100b", "205b")
    other.wait(timeout_s=LONG_S)
    pair.split()
    rig.pvol.pwrite(b"a", 3 * CHUNK)
    rig.spvol.pwrite(b"b", 5 * CHUNK)
    table = (rig.a.table(), rig.b.table())
    apart, equal_ = rig.a.estimate_path("100b")
    assert (apart.pair_id, apart.relation, apart.chunks) == (pair.pair_id, Relation.SPLIT_BRAIN, 2)
    assert apart.refusal is not None
    assert (equal_.pair_id, equal_.relation, equal_.copy_bytes) == (
        other.pair_id,
        Relation.NOTHING,
        0,
    )
    assert rig.b.estimate_path("100a") == ()  # no PVOL is there
    assert (rig.a.table(), rig.b.table()) == table


def test_a_dry_connect_tells_of_a_pair_that_the_secondary_does_not_know(rig: Rig) -> None:
    pair = rig.remote()
    rig.path.cut()
    rig.b.pair(pair.pair_id).dissolve(without_peer=True)
    with pytest.raises(PathLostError):
        rig.a.estimate_path("100b")
    rig.path.connect()
    wait_until(lambda: row_of(rig.a, pair).cause is SplitCause.REQUESTED)
    (told,) = rig.a.estimate_path("100b")
    assert (told.relation, told.copy_bytes) == (None, 0)
    assert "doesn't know it" in str(told.refusal)
    assert "dissolve it here" in str(told.hint)
