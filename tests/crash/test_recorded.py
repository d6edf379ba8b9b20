"""Two systems' every effect on the disk, recorded; the power goes before each, in many ways.

`PYREP_CRASH_STATES` (5 per workload) is how many of the places and losses are tried, `0` all of
the places, with `PYREP_CRASH_LOSSES` (1) losses each; `PYREP_CRASH_SEED` where the draw begins. A
failure keeps the log of the recording and prints the line that tries the same again.
"""

from __future__ import annotations

import fcntl
import os
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from crash.promised import LossError
from crash.recovery import Recovery, keep, make_directory
from crash.workloads import WORKLOADS
from pyrep._core import BitmapFile
from pyrep.engine import found
from pyrep.errors import PyrepError
from pyrep.testing import InvariantError
from pyrep.testing.recording import Recording, can_record, read_log, record

STATES = int(os.environ.get("PYREP_CRASH_STATES", "5"))
LOSSES = int(os.environ.get("PYREP_CRASH_LOSSES", "1"))
SEED = int(os.environ.get("PYREP_CRASH_SEED", "1"))
KEPT = Path(__file__).resolve().parents[2] / "build" / "crash"
SCRIPT = Path(__file__).with_name("record_workload.py")

pytestmark = pytest.mark.skipif(not can_record(), reason="needs strace, which may trace")

Recorded = tuple[Recording, Path]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Recorded]:
    """Return a recorder of workloads; each is run once, whichever of pytest's processes asks."""
    made: dict[str, Recorded] = {}
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def one(name: str) -> Recorded:
        if name not in made:
            log = base / f"{name}.strace"
            with (base / f"{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not log.exists():
                    _record(name, log)
            made[name] = read_log(log), log
        return made[name]

    return one


def _record(name: str, log: Path) -> None:
    making = log.with_suffix(".new")
    with make_directory() as base:  # gone when it is recovered: there again, what is found
        record([sys.executable, str(SCRIPT), base, name], Path(base), making)
    making.rename(log)


def _recover(recording: Recording, cut: int, seed: int) -> None:
    recovery = Recovery(recording, cut, seed)
    try:
        recovery.run()
    finally:
        recovery.close()


def _places(recording: Recording, draw: random.Random) -> list[int]:
    cuts = recording.cuts(recording.position("ready"))
    return [draw.choice(cuts) for _ in range(STATES)] if STATES else cuts * LOSSES


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", WORKLOADS)
def test_whatever_a_power_loss_takes_the_rest_leads_back_to_what_was_promised(
    recorded: Callable[[str], Recorded], name: str
) -> None:
    recording, log = recorded(name)
    draw = random.Random(SEED)
    for cut in _places(recording, draw):
        seed = draw.randrange(1 << 20)
        try:
            _recover(recording, cut, seed)
        except (AssertionError, PyrepError) as error:
            where = KEPT / f"{name}.strace"
            keep(log, where)
            again = (
                f"PYREP_CRASH_LOG={where} PYREP_CRASH_CUT={cut} PYREP_CRASH_LOSS={seed} "
                f".venv/bin/pytest tests/crash/test_recorded.py -k kept"
            )
            raise LossError(f"{name}: {error}\nAgain: {again}") from error


def test_a_kept_log_tries_the_same_again(recorded: Callable[[str], Recorded]) -> None:
    """`PYREP_CRASH_LOG`, `_CUT` and `_LOSS` name what a failure printed."""
    kept = os.environ.get("PYREP_CRASH_LOG")
    recording = read_log(Path(kept)) if kept else read_log(recorded("back")[1])
    if not kept:
        assert recording == recorded("back")[0]
    cut = os.environ.get("PYREP_CRASH_CUT")
    at = recording.position("taken-back 105a") if cut is None else int(cut)
    _recover(recording, at, int(os.environ.get("PYREP_CRASH_LOSS", "0")))


BROKEN = [
    pytest.param("open", r"bitmaps/", id="the open mark isn't durable before the writes"),
    pytest.param("open", r"alog/", id="the log isn't durable before the writes"),
    pytest.param("pairs", r"volumes/105b", id="acknowledged by the secondary, not durable there"),
    pytest.param("backup", r"pyrep\.db(-wal)?$", id="a commit isn't durable when it returns"),
    pytest.param("backup", r"volumes/10[67]b", id="a generation isn't flushed before complete"),
    pytest.param("open", r"volumes/105a", id="a host's flush makes nothing durable"),
    pytest.param("cold", r"alog/", id="the log isn't durable, of more regions than are hot"),
    pytest.param("cold", r"volumes/105b", id="copied, pending bits cleared before the flush"),
    pytest.param("files", r"volumes/105b", id="a file was restored, not durable at the secondary"),
    pytest.param("compare", r"volumes/105b", id="equal at both sides, not durable at the target"),
    pytest.param("back", r"volumes/105a", id="copied back, not durable at the target"),
]


@pytest.mark.parametrize(("name", "path"), BROKEN)
def test_a_system_that_forgot_to_make_something_durable_would_be_caught(
    recorded: Callable[[str], Recorded], name: str, path: str
) -> None:
    recording, _ = recorded(name)
    broken = recording.without_syncs(path)
    # The set-up's own state was whole: what is forgotten is forgotten from there on.
    ready = recording.position("ready")
    broken = replace(recording, effects=recording.effects[:ready] + broken.effects[ready:])
    cut, seed = _caught(broken)
    _recover(recording, cut, seed)  # it was that, and nothing else


def _caught(recording: Recording) -> tuple[int, int]:
    """Return a place and a loss of which something was noticed."""
    draw = random.Random(SEED)
    cuts = recording.cuts(recording.position("ready"))
    for _ in range(200):
        cut, seed = draw.choice(cuts), draw.randrange(1 << 20)
        try:
            _recover(recording, cut, seed)
        except (LossError, InvariantError, PyrepError):
            return cut, seed
    pytest.fail("nothing noticed")


def test_a_recovery_that_forgot_the_pages_of_regions_that_have_cooled_would_be_caught(
    recorded: Callable[[str], Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, _ = recorded("cold")
    with monkeypatch.context() as forgetful:
        forgetful.setattr(BitmapFile, "load", lambda *_: None)
        cut, seed = _caught(recording)
    _recover(recording, cut, seed)


def test_a_recovery_that_made_everything_pending_would_be_caught(
    recorded: Callable[[str], Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, _ = recorded("open")
    with monkeypatch.context() as careless:
        careless.setattr(found, "_replay", lambda *_: False)
        cut, seed = _caught(recording)
    _recover(recording, cut, seed)
