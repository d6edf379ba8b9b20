"""Is all that was written up to now at the secondary?"""

from __future__ import annotations

import threading

import pytest

from pyrep._core import Apply
from pyrep.engine import Cancel, MarkerOutcome
from pyrep.errors import CancelledError, InvalidArgumentError, NotFoundError, RefusedError
from pyrep.model import AckPoint, PairStatus
from pyrep.testing import wait_until
from rig import LONG_S, Rig, equal, fill, row_of


@pytest.mark.parametrize("until", [AckPoint.RECEIVED, AckPoint.DURABLE])
def test_done_means_that_all_of_it_is_there(rig: Rig, until: AckPoint) -> None:
    pair = rig.remote(ack=AckPoint.QUEUED)
    for seed in range(5):
        fill(rig.pvol, seed)
        assert pair.wait_marker(until=until, timeout_s=LONG_S) is MarkerOutcome.DONE
        assert equal(rig.pvol, rig.spvol)
    lag = pair.status().lag
    assert lag is not None
    if until is AckPoint.DURABLE:
        assert lag.durable_s == 0


def test_what_is_there_but_could_still_be_lost_is_received_not_durable(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote(ack=AckPoint.QUEUED)
    with monkeypatch.context() as patch:
        patch.setattr(Apply, "settle", lambda _: None)  # 100b doesn't come to flush
        fill(rig.pvol, 2)
        assert pair.wait_marker(until=AckPoint.RECEIVED, timeout_s=LONG_S) is MarkerOutcome.DONE
        outcome = pair.wait_marker(until=AckPoint.DURABLE, timeout_s=0.01)
        assert outcome is MarkerOutcome.TIMED_OUT
    fill(rig.pvol, 3)  # with a barrier of its own
    assert pair.wait_marker(until=AckPoint.DURABLE, timeout_s=LONG_S) is MarkerOutcome.DONE


def test_what_does_not_arrive_times_out_and_may_be_asked_again(rig: Rig) -> None:
    pair = rig.remote(ack=AckPoint.QUEUED)
    rig.path.stall()
    fill(rig.pvol, 2)
    assert pair.wait_marker(timeout_s=0.01) is MarkerOutcome.TIMED_OUT
    rig.path.resume()
    assert pair.wait_marker(timeout_s=LONG_S) is MarkerOutcome.DONE
    assert equal(rig.pvol, rig.spvol)


def test_a_path_that_is_lost_meanwhile_breaks_it_also_when_it_is_back_at_once(rig: Rig) -> None:
    pair = rig.remote(ack=AckPoint.QUEUED)
    rig.path.stall()
    fill(rig.pvol, 2)
    found: list[MarkerOutcome] = []
    waiting = threading.Thread(target=lambda: found.append(pair.wait_marker(timeout_s=LONG_S)))
    waiting.start()
    rig.path.cut()
    waiting.join()
    assert found == [MarkerOutcome.BROKEN]
    assert pair.wait_marker(timeout_s=LONG_S) is MarkerOutcome.BROKEN
    rig.path.connect()
    rig.both(pair, PairStatus.DUPLEX)
    assert pair.wait_marker(timeout_s=LONG_S) is MarkerOutcome.DONE


def test_a_split_on_request_has_changed_it(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    assert pair.wait_marker(timeout_s=LONG_S) is MarkerOutcome.CHANGED


def test_a_pair_that_is_copied_is_waited_for(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.pvol, 2)
    rig.path.stall()
    pair.resync()
    fill_ended = threading.Thread(target=fill, args=(rig.pvol, 3))
    fill_ended.start()
    assert pair.wait_marker(timeout_s=0.01) is MarkerOutcome.TIMED_OUT
    rig.path.resume()
    fill_ended.join()
    assert pair.wait_marker(timeout_s=LONG_S) is MarkerOutcome.DONE
    assert row_of(rig.a, pair).status is PairStatus.DUPLEX
    assert equal(rig.pvol, rig.spvol)


def test_a_copy_whose_path_is_lost_breaks_it(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.pvol, 2)
    rig.path.stall()
    pair.resync()
    cut = threading.Timer(0.05, rig.path.cut)
    cut.start()
    assert pair.wait_marker(timeout_s=LONG_S) is MarkerOutcome.BROKEN
    cut.join()
    assert row_of(rig.a, pair).status is PairStatus.COPY
    rig.path.connect()
    assert pair.wait_marker(timeout_s=LONG_S) is MarkerOutcome.DONE


def test_a_group_is_waited_for_as_a_whole(rig: Rig) -> None:
    one = rig.remote(group="g", ack=AckPoint.QUEUED)
    other = rig.a.create_remote_pair("106a", "100b", "106b", group="g", ack=AckPoint.DURABLE)
    other.wait(timeout_s=LONG_S)
    fill(rig.pvol, 2)
    found = rig.a.wait_marker(group="g", timeout_s=LONG_S)
    assert found == {one.pair_id: MarkerOutcome.DONE, other.pair_id: MarkerOutcome.DONE}
    other.split()
    found = rig.a.wait_marker(group="g", timeout_s=LONG_S)
    assert found == {one.pair_id: MarkerOutcome.DONE, other.pair_id: MarkerOutcome.CHANGED}


def test_what_cannot_be_waited_for_is_refused(rig: Rig) -> None:
    pair = rig.remote()
    local = rig.local()
    with pytest.raises(RefusedError, match="primary"):
        local.wait_marker()
    with pytest.raises(RefusedError, match="primary") as caught:
        rig.b.wait_marker(pair.pair_id)
    assert "100a" in (caught.value.hint or "")
    with pytest.raises(NotFoundError):
        rig.a.wait_marker(group="none")
    with pytest.raises(InvalidArgumentError):
        pair.wait_marker(until=AckPoint.QUEUED)
    with pytest.raises(InvalidArgumentError):
        pair.wait_marker(timeout_s=float("nan"))


def test_a_wait_can_be_cancelled(rig: Rig) -> None:
    pair = rig.remote(ack=AckPoint.QUEUED)
    rig.path.stall()
    fill(rig.pvol, 2)
    cancel = Cancel()
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            pair.wait_marker(cancel=cancel)
        except CancelledError as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    cancel.cancel()
    waiting.join()
    assert len(failed) == 1
    wait_until(lambda: not waiting.is_alive())
