"""Calls of the kernel that fail, anywhere below two systems: nothing is corrupt afterwards.

The n-th call of a kind fails, whichever thread's it is, once or from then on (a full disk, a dead
one); the process ends as it can. What it left, with or without a power loss on top, leads back to
what it had promised. `PYREP_MEDIA_RUNS` (1 per kind) is how many places are tried.
"""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from crash.apart import Prepared
from crash.faults import Call, Faults
from crash.promised import LossError
from crash.recovery import Recovery
from pyrep.errors import PyrepError
from pyrep.testing.recording import Recording, can_record, read_trace, strace_command

RUNS = int(os.environ.get("PYREP_MEDIA_RUNS", "1"))
SEED = int(os.environ.get("PYREP_CRASH_SEED", "1"))
SCRIPT = Path(__file__).with_name("record_workload.py")
ENDS_S = 20

pytestmark = pytest.mark.skipif(not can_record(), reason="needs strace, which may trace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Which calls fail.

    Attributes:
        most: so many such calls a workload has at least, of all threads.
    """

    calls: Call
    error: int
    most: int
    once: bool = False


FAULTS = [
    pytest.param(Fault(calls=Call.WRITE, error=errno.ENOSPC, most=280), id="full disk"),
    pytest.param(Fault(calls=Call.WRITE, error=errno.EIO, most=280, once=True), id="a write fails"),
    pytest.param(Fault(calls=Call.SYNC, error=errno.EIO, most=130, once=True), id="a flush fails"),
    pytest.param(Fault(calls=Call.SYNC, error=errno.EIO, most=130), id="no flush works any more"),
    pytest.param(Fault(calls=Call.SIZE, error=errno.ENOSPC, most=22), id="no file can grow"),
]


def _fail(prepared: Prepared, base: Path, library: Path, fault: Fault, when: int) -> Recording:
    """Run a workload on what is made, of which a call fails; return what it did."""
    where = base / "systems"
    where.mkdir(parents=True)
    prepared.copy_to(where)
    marks, log = base / "made", base / "strace"
    marks.write_text("\n".join(prepared.marks), "utf-8")
    rule = Faults(library, base / "rule")
    rule.fail_at(when, f"{where}/100*", error=fault.error, calls=fault.calls, once=fault.once)
    environment = [f"-E{key}={value}" for key, value in rule.environment.items()]
    # A process that no longer knows how to end is ended with all that it began.
    watch = ["timeout", "-s", "KILL", str(ENDS_S), *strace_command(log), *environment]
    command = [sys.executable, str(SCRIPT), str(where), prepared.name, str(marks)]
    subprocess.run([*watch, *command], check=False, capture_output=True)
    assert rule.hits > when, "it ended before anything failed"
    recording = read_trace(log, where, prepared.found["100a"] | prepared.found["100b"])
    assert recording.marks()[: len(prepared.marks) + 1] == [*prepared.marks, "ready"]
    return recording


@pytest.mark.timeout(0)
@pytest.mark.parametrize("workload", ["pairs", "backup"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_fails_corrupts_nothing(
    prepared: Callable[[str], Prepared],
    library: Path,
    tmp_path: Path,
    fault: Fault,
    workload: str,
) -> None:
    draw = random.Random(f"{SEED} {fault} {workload}")
    for run in range(RUNS):
        when = draw.randrange(fault.most)
        recording = _fail(prepared(workload), tmp_path / str(run), library, fault, when)
        for seed in range(4 if RUNS > 1 else 2):
            found = Recovery(recording, len(recording.effects), seed, is_bounded=False)
            try:
                found.run()
            except (AssertionError, PyrepError) as error:
                raise LossError(f"{fault} at {when}, loss {seed}: {error}") from error
            finally:
                found.close()
