"""One side loses power amid a workload; the other goes on with all that it has in memory.

The side that ends is a process of its own (`far`), which `faults.c` kills right before one of its
writes, flushes or changes of size, while strace watches. What its files are after the power loss is
put together from that, and it is opened again, here. The other one never stops.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash import acts
from crash.bound import torn_files
from crash.far import Far, FarError, GoneError
from crash.faults import Call, Faults
from crash.promised import LossError, Promised
from crash.recovery import (
    SIDES,
    Aftermath,
    check_offline,
    check_order,
    make_directory,
    reopen,
)
from crash.workload import Here, Side, Workload, together
from crash.workloads import WORKLOADS
from pyrep import StorageSystem
from pyrep.errors import PyrepError
from pyrep.testing import wait_quiet, wait_until
from pyrep.testing.filebytes import FileBytes
from pyrep.testing.recording import read_trace, strace_command
from system.killing import free_port

_SCRIPT = Path(__file__).with_name("far.py")
_EFFECTS = Call.WRITE | Call.SYNC | Call.SIZE
_ENDS_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a workload begins with, made once."""

    name: str
    base: Path
    marks: list[str]
    found: dict[str, dict[str, FileBytes]]

    @classmethod
    def make(cls, name: str, base: Path) -> Prepared:
        """Make it in a directory."""
        marks: list[str] = []
        work = together(base, marks.append)
        WORKLOADS[name].build(base, work)
        work.close()
        found = {
            side: {
                str(path.relative_to(base)): FileBytes.of(path)
                for path in (base / side).rglob("*")
                if path.is_file()
            }
            for side in SIDES
        }
        return cls(name=name, base=base, marks=marks, found=found)

    def copy_to(self, base: Path) -> None:
        """Put it into another directory."""
        for side in SIDES:
            command = ["cp", "-a", "--sparse=always", str(self.base / side), str(base / side)]
            subprocess.run(command, check=True)


class _Near(Here):
    """The side that goes on, and whether it has its end of the path."""

    joined = False

    def open(self) -> None:
        super().open()
        self.joined = False

    def do(self, act: Callable[..., Any], *args: object) -> Any:
        answer = super().do(act, *args)
        self.joined |= act in {acts.listen, acts.dial}
        return answer


class OneSide:
    """A workload at two systems, of which one loses power.

    Args:
        prepared: what it begins with.
        side: whose power goes.
        library: `faults.c`, compiled.
        stop: before which of its effects, from 0; None: at the end of the workload.
        seed: what is lost, and how it is ended.
        forgotten: a pattern of its files that nothing makes durable: a broken system.
    """

    def __init__(
        self,
        prepared: Prepared,
        side: str,
        library: Path,
        *,
        stop: int | None,
        seed: int,
        forgotten: str | None = None,
    ) -> None:
        self._forgotten = forgotten
        self._prepared = prepared
        self.side = side
        self.draw = random.Random(f"{prepared.name} {side} {stop} {seed}")
        self._seed = seed
        self._stop = stop
        self._directory = make_directory()
        self.base = Path(self._directory.name)
        prepared.copy_to(self.base)
        self._log = self.base / "strace"
        self._port = free_port()
        self._marks = list(prepared.marks)
        self._rule = Faults(library, self.base / "rule")
        self._near = _Near(self.base / next(one for one in SIDES if one != side))
        self._back: StorageSystem | None = None
        self._torn: frozenset[str] = frozenset()
        self._failure: BaseException | None = None

    @property
    def effects(self) -> int:
        """How many effects the side has had."""
        return self._rule.hits

    def close(self) -> None:
        for system in (self._near.system, self._back):
            if system is not None:
                with contextlib.suppress(PyrepError):
                    system.abort()
        self._directory.cleanup()

    def run(self) -> None:
        """Let it happen, and check what becomes of it.

        Raises:
            AssertionError, PyrepError: what was promised isn't so, or nothing leads on from here.
        """
        host = threading.Thread(target=self._work, name="host", daemon=True)
        process, pid = self._start()
        try:
            host.start()
            while process.poll() is None and host.is_alive():
                host.join(0.01)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if self.side == "100a":
            self._check_near()
        self._lose()
        self._return()
        host.join(_ENDS_S)
        if host.is_alive():
            raise LossError("the side that goes on is stuck")
        if self._failure is not None:
            raise self._failure
        self._finish()

    def _start(self) -> tuple[subprocess.Popen[str], int]:
        address = self.base / "far.sock"
        pattern = f"{self.base}/{self.side}/*"
        if self._stop is None:
            self._rule.count(pattern, calls=_EFFECTS)
        else:
            self._rule.kill_at(self._stop, pattern, calls=_EFFECTS)
        environment = [f"-E{key}={value}" for key, value in self._rule.environment.items()]
        command = [sys.executable, str(_SCRIPT), str(self.base / self.side), str(address)]
        process = subprocess.Popen(
            [*strace_command(self._log), *environment, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    def _work(self) -> None:
        far = Far(self.base / "far.sock")
        sides: dict[str, Side] = {self.side: far, self._near.directory.name: self._near}

        def join() -> None:
            work.b.do(acts.listen, self._port)
            work.a.do(acts.dial, "100b", self._port)
            work.a.do(acts.wait_for_path)
            work.a.do(acts.wait_for_resumes)

        promised = Promised.by(self._marks)
        work = Workload(sides, join, self._marks.append, promised.layouts, promised.last_number)
        try:
            work.open()
            WORKLOADS[self._prepared.name].run(work)
        except (GoneError, FarError, PyrepError, LookupError, AssertionError):
            pass  # the first thing that fails is where the workload ends
        except BaseException as error:  # noqa: BLE001 (raised by who waits for it)
            self._failure = error

    def _check_near(self) -> None:
        """What 100b has got of a group is all writes up to one, once its path is lost."""
        system = self._near.system
        if system is None or system.state.closing:
            return
        wait_until(lambda: not any(one.is_connected for one in system.state.peers.values()))
        wait_quiet(system)
        promised = Promised.by(self._marks)
        if not promised.is_damaged:
            check_order(system, promised)

    def _lose(self) -> None:
        """Put in place what the power loss leaves of the side's files."""
        recording = read_trace(self._log, self.base, self._prepared.found[self.side])
        if self._forgotten is not None:
            recording = recording.without_syncs(self._forgotten)
        share = self.draw.choice([0, 1, 2, 3])
        cut, tears = len(recording.effects), self.draw.random() < 0.5
        files = recording.after_power_loss(cut, self._seed, lambda _: share, tear=tears)
        for found in sorted((self.base / self.side).rglob("*")):
            if not found.is_dir():
                found.unlink()
        for path, data in files.items():
            (self.base / path).parent.mkdir(parents=True, exist_ok=True)
            data.save(self.base / path)

    def _return(self) -> None:
        """Open the side again; its path comes back when the other has its end of it."""
        check_offline(self.base / self.side)
        self._torn = torn_files(self.base / self.side)
        self._back = reopen(self.base / self.side, self._marks, self._torn)
        if self.draw.random() < 0.3:  # the power goes again, at once
            self._back.abort()
            self._back = reopen(self.base / self.side, self._marks, self._torn)
        self._join(self._back)

    def _join(self, system: StorageSystem) -> None:
        if system.system_id == "100b":
            acts.listen(system, self._port)
        else:
            acts.dial(system, "100b", self._port)

    def _finish(self) -> None:
        if self._near.system is None or self._near.system.state.closing:
            self._near.open()
        near, back = self._near.system, self._back
        assert near is not None
        assert back is not None
        if not self._near.joined:
            self._join(near)
        systems = sorted([near, back], key=lambda one: one.system_id)
        acts.wait_for_path(systems[0])
        found = Aftermath(self.base, systems, self._marks, self._torn, self.draw, ended=1)
        found.check()
        found.check_content()
        found.finish()
