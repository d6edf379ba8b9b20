"""Whether a volume's content is consistent, and what a row says of it, when two mishaps meet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from pyrep.engine import Cancel, CopyJob, Options, Pair
from pyrep.engine.peer import Peer
from pyrep.engine.remote_copies_back import RemoteCopiesBack
from pyrep.errors import BusyError, CancelledError, FencedError, PathLostError, RefusedError
from pyrep.interconnect.messages import BeginForward, BindChannel, CreatePair, Message, Waits
from pyrep.model import Direction, PairStatus, SplitCause, WorkflowId
from pyrep.testing import wait_quiet, wait_until
from rig import CHUNK, LONG_S, Rig, content, equal, fill, refused, row_of


def _crash_amid_both(rig: Rig, local: Pair) -> None:
    """Stop 100b in a local copy; what the path had brought to its source may be torn then."""
    source, target = rig.b.state.sides(local.pair_id)
    rig.b.state.change(source, status=PairStatus.COPY, target_consistent=False, pending_union=True)
    rig.b.state.change(target, status=PairStatus.COPY, target_consistent=False)
    rig.reopen("100b", crash=True)
    fill(rig.pvol, 4)


def _local_row_consistent(rig: Rig, local: Pair) -> bool:
    return rig.b.pair(local.pair_id).row.target_consistent


def test_a_local_copy_out_of_an_inconsistent_source_ends_inconsistent_until_the_source_is_mended(
    rig: Rig,
) -> None:
    pair, local = rig.remote(), rig.local()
    _crash_amid_both(rig, local)
    again = rig.b.pair(local.pair_id)
    again.wait(timeout_s=LONG_S)
    assert not row_of(rig.b, pair).target_consistent
    assert not again.row.target_consistent
    with refused(FencedError, rig.b, names="106b"):
        rig.svol.pread(1, 0)
    assert again.split() is None  # no generation of that
    assert not again.row.target_consistent
    rig.reconnect()
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    resync = rig.b.pair(local.pair_id).resync()
    assert resync is not None
    resync.wait(LONG_S)
    assert _local_row_consistent(rig, local)
    assert content(rig.pvol) == content(rig.spvol) == content(rig.svol)


def test_a_generation_that_is_copied_back_mends_an_inconsistent_svol(rig: Rig) -> None:
    """Fig. 6 after a power loss between 630 and 650: 670 couldn't copy out of it for ever."""
    pair, local = rig.remote(), rig.local()
    local.split()
    held = content(rig.svol)
    pair.split()
    secondary = rig.b.state.mirror(pair.pair_id)
    rig.b.state.change(secondary, status=PairStatus.DUPLEX, cause=None)  # it hadn't heard of it
    rig.b.abort()
    rig.path.cut()
    rig.open("100b")
    assert not row_of(rig.b, pair).target_consistent
    job = rig.b.pair(local.pair_id).resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    assert row_of(rig.b, pair).target_consistent
    rig.reconnect()
    wait_quiet(rig.a, rig.b)
    fill(rig.pvol, 6)
    back = rig.a.pair(pair.pair_id).resync(direction=Direction.REVERSE, discard="100a")
    assert back is not None
    back.wait(LONG_S)
    assert content(rig.pvol) == content(rig.spvol) == held


def test_a_mirror_that_followed_an_inconsistent_source_is_consistent_once_that_is(rig: Rig) -> None:
    pair, local = rig.remote(), rig.local()
    _crash_amid_both(rig, local)
    rig.b.pair(local.pair_id).wait(timeout_s=LONG_S)
    assert not _local_row_consistent(rig, local)
    rig.reconnect()
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    wait_until(lambda: _local_row_consistent(rig, local))
    made = rig.b.pair(local.pair_id).split()
    assert made is not None
    assert made.is_complete
    assert content(rig.pvol) == content(rig.svol)


def test_a_split_between_the_two_commits_at_the_end_of_a_reverse_copy_leaves_a_whole_side(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7)
    expected = content(rig.spvol)

    def crash(_self: RemoteCopiesBack, _mirror: object) -> None:
        rig.b.abort()
        raise PathLostError("the path was lost")

    monkeypatch.setattr(RemoteCopiesBack, "_finish_reverse", crash)
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    with contextlib.suppress(PathLostError):
        job.wait(LONG_S)
    monkeypatch.undo()
    rig.open("100b")
    pair.split()
    rig.reconnect()
    wait_until(lambda: row_of(rig.b, pair).cause is SplitCause.REQUESTED)
    assert content(rig.pvol) == expected
    assert rig.pvol.pread(1, 0) == expected[:1]
    again = pair.resync()
    assert again is not None
    again.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_a_write_just_before_the_row_ships_again_is_protected_from(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, local = rig.remote(), rig.local()
    pair.split()
    before = content(rig.spvol)
    peer = rig.a.state.peer(rig.b.system_id)
    ask = peer.ask
    written: list[int] = []

    def write_behind_the_union(message: object) -> object:
        answer = ask(message)  # type: ignore[arg-type]
        if isinstance(message, BindChannel) and not written:
            written.append(1)
            rig.pvol.pwrite(b"between", 5 * CHUNK)
        return answer

    monkeypatch.setattr(peer, "ask", write_behind_the_union)
    job = pair.resync()
    assert job is not None
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
    assert local.status().cause is SplitCause.PROTECT
    assert content(rig.svol) == before


def test_a_resync_with_nothing_to_copy_keeps_the_target_consistent_and_its_mirrors(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, local = rig.remote(), rig.local()
    pair.split()
    peer = rig.a.state.peer(rig.b.system_id)
    ask = peer.ask
    seen: list[bool] = []

    def look(message: object) -> object:
        answer = ask(message)  # type: ignore[arg-type]
        if isinstance(message, BeginForward):
            seen.append(row_of(rig.b, pair).target_consistent)
        return answer

    monkeypatch.setattr(peer, "ask", look)
    job = pair.resync()
    assert job is not None
    job.wait(LONG_S)
    assert seen == [True]
    assert local.status().status is PairStatus.DUPLEX
    fill(rig.pvol, 8)
    assert content(rig.pvol) == content(rig.spvol) == content(rig.svol)


def test_unclean_local_pairs_are_mended_under_a_stopped_workflows_lease(rig: Rig) -> None:
    local = rig.local()
    rig.b.state.journal.acquire(WorkflowId("w1"), [rig.spvol.volume_id])
    rig.reopen("100b", crash=True)
    again = rig.b.pair(local.pair_id)
    again.wait(timeout_s=LONG_S)
    assert equal(rig.spvol, rig.svol)


def _never_ends(rig: Rig, local: Pair) -> CopyJob:
    """Put a copy at the pair that doesn't end by itself."""
    source, _ = rig.b.state.sides(local.pair_id)

    def work(job: CopyJob) -> None:
        while not job.wake.is_set():
            pass
        raise CancelledError("stopped")

    def ended(_error: object) -> None:
        source.job = None

    job = CopyJob(what="a copy", work=work, ended=ended)
    source.job = job
    job.start()
    return job


def _resync_back(rig: Rig) -> None:
    rig.b.pairs()[0].resync(direction=Direction.REVERSE)


def _create_remote(rig: Rig) -> None:
    rig.a.create_remote_pair("105a", "100b", "105b")


def test_a_cancel_reaches_a_resync_that_waits_for_a_local_copy_at_the_secondary(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, local = rig.remote(), rig.local()
    pair.split()
    fill(rig.pvol, 9)
    rows = (rig.a.table(), rig.b.table())
    cancel, answers = Cancel(), list[object]()
    ask = Peer.ask

    def then_cancel(self: Peer, message: Message) -> object:
        answer = ask(self, message)
        if isinstance(message, BeginForward):
            answers.append(answer)
            cancel.cancel()
        return answer

    monkeypatch.setattr(Peer, "ask", then_cancel)
    job = _never_ends(rig, local)
    try:
        with pytest.raises(CancelledError, match=f"resync of pair {pair.pair_id}"):
            pair.resync(cancel=cancel)
    finally:
        job.close()
    assert answers == [Waits(pair_id=local.pair_id, done_bytes=0, total_bytes=0)]
    assert (rig.a.table(), rig.b.table()) == rows
    monkeypatch.undo()
    again = pair.resync()
    assert again is not None
    again.wait(LONG_S)
    assert equal(rig.pvol, rig.spvol)


def test_a_local_copy_at_the_secondary_is_waited_for_over_several_questions(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, local = rig.remote(), rig.local()
    pair.split()
    fill(rig.pvol, 9)
    waited: list[float] = []
    ask = Peer.ask
    job = _never_ends(rig, local)

    def then_end_it(self: Peer, message: Message) -> object:
        answer = ask(self, message)
        if isinstance(answer, Waits) and isinstance(message, BeginForward):
            waited.append(message.waited_s)
            if len(waited) == 2:
                job.close()
        return answer

    monkeypatch.setattr(Peer, "ask", then_end_it)
    copy = pair.resync()
    assert copy is not None
    copy.wait(LONG_S)
    assert waited[0] == 0 < waited[1]
    assert equal(rig.pvol, rig.spvol)


def test_a_cancel_reaches_a_creation_that_waits_for_a_local_copy_at_the_secondary(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = rig.local()
    rows = (rig.a.table(), rig.b.table())
    cancel, answers, told = Cancel(), list[object](), list[str]()
    ask = Peer.ask

    def then_cancel(self: Peer, message: Message) -> object:
        answer = ask(self, message)
        if isinstance(message, CreatePair):
            answers.append(answer)
            if len(answers) == 2:
                cancel.cancel()
        return answer

    monkeypatch.setattr(Peer, "ask", then_cancel)
    job = _never_ends(rig, local)
    try:
        with pytest.raises(CancelledError, match="creation of a pair 105a → 100b:105b"):
            rig.a.create_remote_pair(
                "105a",
                "100b",
                "105b",
                progress=lambda progress: told.append(progress.what),
                cancel=cancel,
            )
    finally:
        job.close()
    assert answers == [Waits(pair_id=local.pair_id, done_bytes=0, total_bytes=0)] * 2
    assert told[-1] == f"waiting for the copy of pair {local.pair_id} of system 100b"
    assert (rig.a.table(), rig.b.table()) == rows
    monkeypatch.undo()
    rig.remote()
    assert equal(rig.pvol, rig.spvol)


def test_a_creation_that_is_cancelled_when_the_secondary_has_made_its_side_leaves_none(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = Cancel()
    rows = (rig.a.table(), rig.b.table())
    ask = Peer.ask

    def then_cancel(self: Peer, message: Message) -> object:
        answer = ask(self, message)
        if isinstance(message, CreatePair):
            assert len(rig.b.pairs()) == 1
            cancel.cancel()
        return answer

    monkeypatch.setattr(Peer, "ask", then_cancel)
    with pytest.raises(CancelledError):
        rig.a.create_remote_pair("105a", "100b", "105b", cancel=cancel)
    assert (rig.a.table(), rig.b.table()) == rows


def test_a_creation_waits_for_a_local_copy_at_the_secondary_over_several_questions(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = rig.local()
    waited: list[float] = []
    ask = Peer.ask
    job = _never_ends(rig, local)

    def then_end_it(self: Peer, message: Message) -> object:
        answer = ask(self, message)
        if isinstance(answer, Waits) and isinstance(message, CreatePair):
            waited.append(message.waited_s)
            if len(waited) == 2:
                job.close()
        return answer

    monkeypatch.setattr(Peer, "ask", then_end_it)
    rig.remote()
    assert waited[0] == 0 < waited[1]
    assert equal(rig.pvol, rig.spvol)


@pytest.mark.parametrize("command", [_resync_back, _create_remote])
def test_a_copy_that_a_protective_split_waits_for_is_waited_for_so_long_and_then_named(
    rig: Rig, command: Callable[[Rig], None]
) -> None:
    rig.options["100b"] = Options(copy_wait_s=0.05)
    rig.reopen("100b")
    rig.reconnect()
    first, second = rig.local(), rig.local("107b")
    first.split()
    job = _never_ends(rig, second)
    try:
        with pytest.raises((BusyError, RefusedError), match=second.pair_id) as caught:
            command(rig)
        assert caught.value.hint
    finally:
        job.close()


def test_a_resync_that_waits_for_a_local_copy_at_the_secondary_names_it_when_it_waited_long(
    rig: Rig,
) -> None:
    rig.options["100b"] = Options(copy_wait_s=0.05)
    rig.reopen("100b")
    rig.reconnect()
    pair, local = rig.remote(), rig.local()
    pair.split()
    rows = (rig.a.table(), rig.b.table())
    job = _never_ends(rig, local)
    try:
        with pytest.raises(BusyError, match=f"{local.pair_id} is copying out of it still"):
            pair.resync()
    finally:
        job.close()
    assert (rig.a.table(), rig.b.table()) == rows
