"""One side loses power before any of its effects, the other lives on; in every workload.

`PYREP_CRASH_SIDES` is how many of the places of each workload and side are tried, `0` all of them;
unless it is set, one of each workload at one of its sides.
`PYREP_CRASH_SEED` where the draw begins; `PYREP_CRASH_PLACE` one alone, by its number.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from crash.apart import OneSide, Prepared
from crash.promised import LossError
from crash.recovery import SIDES
from crash.workloads import WORKLOADS
from pyrep.engine import found
from pyrep.errors import PyrepError
from pyrep.testing import InvariantError
from pyrep.testing.recording import can_record

STATES = int(os.environ.get("PYREP_CRASH_SIDES", "1"))
SEED = int(os.environ.get("PYREP_CRASH_SEED", "1"))
ASKED = "PYREP_CRASH_SIDES" in os.environ
ABOUT = 200
"""Effects of a side that every workload has, about."""
PLACE = int(os.environ.get("PYREP_CRASH_PLACE", "-1"))

pytestmark = pytest.mark.skipif(not can_record(), reason="needs strace, which may trace")


def _run(prepared: Prepared, side: str, library: Path, stop: int | None, seed: int) -> int:
    """Let it happen at one place; return how many effects the side had."""
    one = OneSide(prepared, side, library, stop=stop, seed=seed)
    try:
        one.run()
    except (AssertionError, PyrepError) as error:
        again = (
            f"PYREP_CRASH_PLACE={stop} PYREP_CRASH_SEED={SEED} "
            f".venv/bin/pytest tests/crash/test_one_side.py -k '{prepared.name} and {side}'"
        )
        raise LossError(f"{prepared.name}, {side}: {error!r}\nAgain: {again}") from error
    else:
        return one.effects
    finally:
        one.close()


CASES = [
    pytest.param(name, side, id=f"{name}-{side}")
    for number, name in enumerate(WORKLOADS)
    for side in (SIDES if ASKED or PLACE >= 0 else SIDES[number % 2 :][:1])
]


@pytest.mark.timeout(0)
@pytest.mark.parametrize(("name", "side"), CASES)
def test_one_side_loses_power_anywhere_and_the_other_leads_it_back(
    prepared: Callable[[str], Prepared], library: Path, name: str, side: str
) -> None:
    ready = prepared(name)
    draw = random.Random(f"{SEED} {name} {side}")
    if PLACE >= 0:
        _run(ready, side, library, PLACE, SEED)
        return
    if not ASKED:
        _run(ready, side, library, draw.randrange(ABOUT), SEED)
        return
    count = _run(ready, side, library, None, SEED)  # at its end; how many there are
    places = [draw.randrange(count) for _ in range(STATES)] if STATES else range(count)
    for place in places:
        _run(ready, side, library, place, SEED)


BROKEN = [
    pytest.param("cold", "100b", r"volumes/105b", id="durable at the secondary, and wasn't"),
    pytest.param("pairs", "100a", r"alog/", id="the primary's log isn't durable"),
    pytest.param("backup", "100b", r"volumes/10[67]b", id="a generation isn't flushed"),
]


_NOTICED = (LossError, InvariantError, PyrepError)
"""What was promised isn't so, or pyrep says that it can't be; a wait that ends is neither."""


@pytest.mark.timeout(0)
@pytest.mark.parametrize(("name", "side", "path"), BROKEN)
def test_a_side_that_forgot_to_make_something_durable_would_be_caught(
    prepared: Callable[[str], Prepared], library: Path, name: str, side: str, path: str
) -> None:
    for seed in range(20):
        one = OneSide(prepared(name), side, library, stop=None, seed=seed, forgotten=path)
        try:
            one.run()
        except _NOTICED:
            break
        finally:
            one.close()
    else:
        pytest.fail("nothing noticed")
    _run(prepared(name), side, library, None, seed)  # it was that, and nothing else


@pytest.mark.timeout(0)
def test_a_side_that_made_everything_pending_would_be_caught(
    prepared: Callable[[str], Prepared], library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = prepared("cold")
    with monkeypatch.context() as careless:
        careless.setattr(found, "_replay", lambda *_: False)
        with pytest.raises(LossError, match="bytes are pending"):
            _run(ready, "100b", library, None, SEED)
    _run(ready, "100b", library, None, SEED)  # it was that, and nothing else
