"""Two sites as in Fig. 1, small: 105a with its host agent, 105b and its local mirrors."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyrep
from pyrep import (
    Generation,
    Options,
    Pair,
    PairStatus,
    Progress,
    ProgressCallback,
    StorageSystem,
    Volume,
    backup,
)
from pyrep.engine import connect
from pyrep.errors import FencedError, HostAgentError
from pyrep.fs import Access, Difference, ExtFileSystem, compare_trees
from pyrep.model import VolumeId, WorkflowRecord, WorkflowState
from pyrep.testing import check_covered, wait_quiet

MIB = 1 << 20
SIZE = 8 * MIB
WAIT_S = 30.0
NO_HURRY_MS = 20_000.0
"""A hold that no slow machine exceeds."""


class BoomError(Exception):
    """What a test throws: nothing that the project knows of."""


@dataclasses.dataclass(slots=True)
class RecordingAgent:
    """A host agent that notes what is asked of it, and fails on demand."""

    log: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    fails: str = ""
    then: dict[str, Callable[[], None]] = dataclasses.field(default_factory=dict)

    def _do(self, what: str, volume_id: str) -> None:
        self.log.append((what, volume_id))
        if what in self.then:
            self.then[what]()
        if what == self.fails:
            raise HostAgentError(f"the host can't {what}", step=what)

    def stop(self, volume_id: VolumeId) -> None:
        self._do("stop", volume_id)

    def start(self, volume_id: VolumeId) -> None:
        self._do("start", volume_id)

    def unmount(self, volume_id: VolumeId) -> None:
        self._do("unmount", volume_id)

    def mount(self, volume_id: VolumeId) -> None:
        self._do("mount", volume_id)

    def recover(self, volume_id: VolumeId) -> None:
        self._do("recover", volume_id)

    @property
    def asked(self) -> list[str]:
        return [what for what, _ in self.log]


def at_step(number: int, do: Callable[[], None]) -> ProgressCallback:
    """Return a progress callback that does something once, when a step begins."""
    done: list[int] = []

    def callback(progress: Progress) -> None:
        if progress.step == number and not done:
            done.append(number)
            do()

    return callback


def boom() -> None:
    raise BoomError("boom")


class Sites:
    """100a and 100b in directories, connected; every volume 10n has its pairs.

    Args:
        base: where the systems' directories are.
        numbers: volumes: "105" is 105a, 105b with 106b, 107b, as many as `svols` says.
        own: local mirrors of each PVOL: 106a, ...
        groups: consistency group per number; all in one by default.
    """

    def __init__(
        self,
        base: Path,
        *,
        numbers: Sequence[str] = ("105",),
        svols: int = 2,
        own: int = 0,
        groups: dict[str, str] | None = None,
        size: int = SIZE,
        content: bytes = b"",
        hold_max_ms: float = NO_HURRY_MS,
        ack: pyrep.AckPoint = pyrep.AckPoint.RECEIVED,
    ) -> None:
        self.base = base
        self.agent = RecordingAgent()
        self.hold_max_ms = hold_max_ms
        self.numbers = tuple(numbers)
        self.a = StorageSystem.create(base / "a", "100a", options=self.options_a())
        self.b = StorageSystem.create(base / "b", "100b", options=self.options_b())
        for number in numbers:
            self.a.create_volume(f"{number}a", size)
            self.b.create_volume(f"{number}b", size)
            for svol in self.svol_names(number, svols):
                self.b.create_volume(f"{svol}b", size)
            for svol in self.svol_names(number, own):
                self.a.create_volume(f"{svol}a", size)
        if content:
            self.a.volume(f"{numbers[0]}a").pwrite(content, 0)
        self.path = connect(self.a, self.b)
        self._create_pairs(svols, own, groups or {}, ack)

    def options_a(self) -> Options:
        agents = {VolumeId(f"{number}a"): self.agent for number in self.numbers}
        return Options(host_agents=dict(agents), hold_max_ms=self.hold_max_ms)

    def options_b(self) -> Options:
        agents = {VolumeId(f"{number}b"): self.agent for number in self.numbers}
        return Options(host_agents=dict(agents), hold_max_ms=self.hold_max_ms)

    def _create_pairs(
        self, svols: int, own: int, groups: dict[str, str], ack: pyrep.AckPoint
    ) -> None:
        for number in self.numbers:
            group = groups.get(number, "g")
            self.a.create_remote_pair(f"{number}a", "100b", f"{number}b", group=group, ack=ack)
        self.wait_duplex()
        for number in self.numbers:
            for svol in self.svol_names(number, svols):
                self.b.create_local_pair(f"{number}b", f"{svol}b")
            for svol in self.svol_names(number, own):
                self.a.create_local_pair(f"{number}a", f"{svol}a")
        self.wait_duplex()

    @staticmethod
    def svol_names(number: str, count: int) -> list[str]:
        return [str(int(number) + one) for one in range(1, count + 1)]

    # --- life ------------------------------------------------------------------------------------

    def wait_duplex(self) -> None:
        for pair in [*self.a.pairs(), *self.b.pairs()]:
            pair.wait(PairStatus.DUPLEX, PairStatus.SPLIT, timeout_s=WAIT_S)

    def reopen(self) -> None:
        """Close and open both systems, and connect them again; what resumes has resumed."""
        self.a.close()
        self.b.close()
        self.a = StorageSystem.open(self.base / "a", options=self.options_a())
        self.b = StorageSystem.open(self.base / "b", options=self.options_b())
        self.reconnect()

    def reconnect(self) -> None:
        self.path = connect(self.a, self.b)
        self.quiet()

    def quiet(self) -> None:
        wait_quiet(self.a, self.b, timeout_s=WAIT_S)

    def close(self) -> None:
        self.a.close()
        self.b.close()

    # --- parts -----------------------------------------------------------------------------------

    @property
    def pvol(self) -> Volume:
        return self.a.volume("105a")

    @property
    def spvol(self) -> Volume:
        return self.b.volume("105b")

    def remote(self, number: str = "105") -> Pair:
        return next(
            one for one in self.a.pairs() if one.row.is_remote and one.row.volume_id == f"{number}a"
        )

    def local(self, svol: str) -> Pair:
        system = self.b if svol.endswith("b") else self.a
        return next(
            one
            for one in system.pairs()
            if not one.row.is_remote and one.row.mirror_volume_id == svol
        )

    def content(self, name: str) -> bytes:
        """Return all of a volume, below its fences."""
        system = self.a if name.endswith("a") else self.b
        io = system.state.volume(VolumeId(name)).io
        return io.pread(io.size_bytes, 0)

    def take(self, label: str = "", *, reuse_last: bool = False) -> Generation:
        """Take a backup of the first volume."""
        return backup(self.a, ["105a"], label=label, reuse_last=reuse_last).generation

    def generation(self, label: str) -> Generation:
        return next(one for one in reversed(self.b.list_generations()) if one.label == label)

    def held(self, generation: Generation, number: str = "105") -> bytes:
        """Return the bytes that a generation holds."""
        with self.b.generations.view(generation.generation_id, VolumeId(f"{number}b")) as view:
            return view.pread(view.size_bytes, 0)

    # --- looking ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def edit(self, name: str = "105a") -> Iterator[ExtFileSystem]:
        """Change files of a volume through tracked writes, as its host does."""
        system = self.a if name.endswith("a") else self.b
        with (
            system.volume(name).io() as io,
            ExtFileSystem.open(io.address, access=Access.READ_WRITE, name=name) as files,
        ):
            yield files

    @contextlib.contextmanager
    def look(self, name: str = "105a") -> Iterator[ExtFileSystem]:
        system = self.a if name.endswith("a") else self.b
        with (
            system.volume(name).io() as io,
            ExtFileSystem.open(io.address, access=Access.READ_ONLY, name=name) as files,
        ):
            yield files

    def differences(self, generation: Generation, name: str = "105a") -> list[Difference]:
        """Compare a generation's files with a volume's."""
        with (
            self.b.generations.view(generation.generation_id, VolumeId("105b")) as io,
            ExtFileSystem.open(io.address, access=Access.READ_ONLY, name="generation") as one,
            self.look(name) as other,
        ):
            return compare_trees(one, other)

    def fsck(self, name: str = "105a") -> None:
        system = self.a if name.endswith("a") else self.b
        system.volume(name).flush()
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        done = subprocess.run(
            ["e2fsck", "-fn", system.volume(name).path],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": path},
        )
        assert done.returncode == 0, done.stdout

    def is_fenced(self, name: str = "105a") -> bool:
        """Whether a host's write is refused (one of what is there already)."""
        system = self.a if name.endswith("a") else self.b
        try:
            system.volume(name).pwrite(self.content(name)[:512], 0)
        except FencedError:
            return True
        return False

    def leases(self) -> list[str]:
        """Return the volumes that a workflow holds, in both systems."""
        return [
            volume.volume_id
            for system in (self.a, self.b)
            for volume in system.volumes()
            if system.state.journal.holder(volume.volume_id) is not None
        ]

    def pins(self) -> list[str]:
        return [pin for one in self.b.list_generations() for pin in one.pins]

    def workflow(self, system: StorageSystem | None = None) -> WorkflowRecord:
        """Return the last workflow in a system's journal."""
        return pyrep.list_workflows(system or self.b)[-1]

    def check_at_rest(self) -> None:
        """Nothing of a workflow is left, and every difference is covered."""
        self.quiet()
        assert self.leases() == []
        assert self.pins() == []
        assert not self.is_fenced("105a")
        for system in (self.a, self.b):
            for one in pyrep.list_workflows(system):
                assert one.state in {WorkflowState.DONE, WorkflowState.ABANDONED}, one
        check_covered(self.a, self.b)
