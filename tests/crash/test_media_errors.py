"""Calls of the kernel that fail, anywhere below two systems: nothing is corrupt afterwards.

strace lets the n-th call of the main thread fail, once or from then on (a full disk, a dead one);
the process ends as it can. What it left, with or without a power loss on top, leads back to what
it had promised. `PYREP_MEDIA_RUNS` (1 per kind) is how many places are tried.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from crash.recovery import LossError, Recovery
from pyrep.errors import PyrepError
from pyrep.testing.recording import can_record, record

RUNS = int(os.environ.get("PYREP_MEDIA_RUNS", "1"))
SEED = int(os.environ.get("PYREP_CRASH_SEED", "1"))
SCRIPT = Path(__file__).with_name("record_workload.py")

pytestmark = pytest.mark.skipif(not can_record(), reason="needs strace, which may trace")

FAULTS = [
    pytest.param("pwrite64:error=ENOSPC:when={}+", id="full disk"),
    pytest.param("pwrite64:error=EIO:when={}", id="a write fails"),
    pytest.param("fdatasync:error=EIO:when={}", id="a flush fails"),
    pytest.param("fdatasync:error=EIO:when={}+", id="no flush works any more"),
    pytest.param("ftruncate:error=ENOSPC:when={}+", id="no file can grow"),
]
AFTER = {"pwrite64": (320, 460), "fdatasync": (80, 145), "ftruncate": (21, 25)}
"""Which calls of the main thread come behind the set-up, about."""


@pytest.mark.timeout(0)
@pytest.mark.parametrize("workload", ["pairs", "backup"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_fails_corrupts_nothing(tmp_path: Path, fault: str, workload: str) -> None:
    draw = random.Random(f"{SEED} {fault} {workload}")
    first, last = AFTER[fault.split(":", maxsplit=1)[0]]
    for run in range(RUNS):
        when = draw.randrange(first, last)
        base = tmp_path / str(run)
        base.mkdir()
        command = [sys.executable, str(SCRIPT), str(base), workload]
        recording = record(command, base, tmp_path / f"{run}.strace", inject=fault.format(when))
        if "ready" not in recording.marks():
            continue  # it failed while the systems were made
        for seed in range(4 if RUNS > 1 else 2):
            found = Recovery(recording, len(recording.effects), seed)
            try:
                found.run()
            except (AssertionError, PyrepError) as error:
                raise LossError(f"{fault.format(when)}, loss {seed}: {error}") from error
            finally:
                found.close()
