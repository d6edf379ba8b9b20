"""What is found after a power loss of recorded systems, recovered, checked, brought to an end."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crash.workload import BLOCKS, CHUNK, OPTIONS, SIZE, stamp
from pyrep import PairStatus, StorageSystem, abandon, check_system, connect, list_workflows, resume
from pyrep.engine import Pair, Severity
from pyrep.errors import PyrepError, RefusedError, WorkflowError
from pyrep.model import GenerationId, GenerationState, Row, VolumeId, WorkflowState
from pyrep.testing import (
    check_covered,
    check_duplex,
    check_durable_first,
    check_no_early_clear,
    check_one_writer,
    wait_quiet,
    wait_until,
)
from pyrep.testing.recording import Recording
from rig import bring_home

_MEMORY = Path("/dev/shm")  # noqa: S108
_ENDED = {WorkflowState.DONE, WorkflowState.ABANDONED}
_UNDECIDED = {GenerationState.TAKING, GenerationState.UNCONFIRMED}
Content = list[int]


class LossError(AssertionError):
    """Something that was promised isn't so after the power loss."""


@dataclass(slots=True)
class Promised:
    """What the marks before a power loss promise.

    Attributes:
        volume: per block of 105a, the writes one of which it holds.
        generations: content by label, of those that must be there, and of those that may.
        reads_by_restore: a restore is under way: 105a may hold this generation's blocks.
    """

    volume: list[set[int]]
    complete: dict[str, Content]
    known: dict[str, Content]

    @classmethod
    def by(cls, marks: list[str]) -> Promised:
        now = [0] * BLOCKS
        out = cls(volume=[{0} for _ in now], complete={}, known={})
        for mark in marks:
            word, *rest = mark.split()
            match word:
                case "write":
                    number, block = map(int, rest)
                    now[block] = number
                    out.volume[block].add(number)
                case "flushed":
                    out.volume = [{number} for number in now]
                case "backup":
                    out.known[rest[0]] = list(now)
                case "backed-up":
                    out.complete[rest[0]] = out.known[rest[0]]
                case "restore":
                    for allowed, number in zip(out.volume, out.known[rest[0]], strict=True):
                        allowed.add(number)
                case "restored":
                    now = list(out.known[rest[0]])
                    out.volume = [{number} for number in now]
                case "secondary":
                    out.volume[9].add(1000)
                case "taken-back":
                    now[9] = 1000
                    out.volume[9] = {1000}
                case _:
                    pass
        return out


class Recovery:
    """The systems as they are found at one cut.

    Args:
        recording: of a workload.
        cut: before which of its effects the power goes.
        seed: what of the rest is lost, at which side, and how it is ended.
    """

    def __init__(self, recording: Recording, cut: int, seed: int) -> None:
        self.draw = random.Random(seed * 100_003 + cut)
        self.promised = Promised.by(recording.marks(cut))
        memory = _MEMORY if _MEMORY.is_dir() else None
        self._directory = tempfile.TemporaryDirectory(dir=memory, prefix="pyrep-crash-")
        self.base = Path(self._directory.name)
        kept = {side: self.draw.choice([0, 1, 2, 3]) for side in ("100a", "100b")}
        files = recording.after_power_loss(
            cut, seed, lambda path: kept.get(path.split("/")[0], 1), tear=self.draw.random() < 0.5
        )
        for side in kept:
            for name in ("volumes", "bitmaps"):
                (self.base / side / name).mkdir(parents=True)
        for path, data in files.items():
            (self.base / path).parent.mkdir(parents=True, exist_ok=True)
            (self.base / path).write_bytes(data)
        self.systems: list[StorageSystem] = []

    def close(self) -> None:
        for system in self.systems:
            with contextlib.suppress(PyrepError):
                system.abort()
        self._directory.cleanup()

    @property
    def a(self) -> StorageSystem:
        return self.systems[0]

    @property
    def b(self) -> StorageSystem:
        return self.systems[1]

    def run(self) -> None:
        """Open, check, end what was under way, check again.

        Raises:
            AssertionError, PyrepError: what was promised isn't so, or nothing leads on from here.
        """
        self._check_offline()
        for side in ("100a", "100b"):
            self.systems.append(StorageSystem.open(self.base / side, options=OPTIONS))
        if self.draw.random() < 0.3:  # recovery itself is interrupted
            self._again()
        self._check()
        self._check_volume()
        self._check_generations()
        before = {one.generation_id for one in self.b.list_generations() if one.is_complete}
        self.path = connect(self.a, self.b)
        wait_quiet(*self.systems)
        self._check()
        self._end_workflows()
        self._bring_home()
        self._check()
        check_duplex(*self.systems)
        self._check_volume()
        self._check_generations(before)

    def _check_offline(self) -> None:
        for side in ("100a", "100b"):
            report = check_system(self.base / side)
            # Files made anew have other inodes; that isn't what is looked for.
            wrong = [
                one for one in report.wrong if not one.thing.startswith(("volume", "workflow"))
            ]
            if any(one.severity is Severity.FAILED for one in wrong):
                raise LossError(f"{side}: {[str(one) for one in wrong]}")

    def _again(self) -> None:
        for system in self.systems:
            system.abort()
        self.systems = [
            StorageSystem.open(self.base / side, options=OPTIONS) for side in ("100a", "100b")
        ]

    def _check(self) -> None:
        wait_quiet(*self.systems)
        check_covered(*self.systems)
        check_durable_first(*self.systems)
        check_no_early_clear(*self.systems)
        check_one_writer(*self.systems)

    def _bytes(self, system: StorageSystem, volume_id: str) -> bytes:
        return system.state.volume(VolumeId(volume_id)).io.pread(SIZE, 0)

    def _check_volume(self) -> None:
        """105a holds, per block, a write that it may hold; a torn one may be part of two."""
        data = self._bytes(self.a, "105a")
        for block, allowed in enumerate(self.promised.volume):
            found = data[block * CHUNK : (block + 1) * CHUNK]
            for at in range(0, CHUNK, 512):
                if not any(found[at : at + 512] == stamp(number)[:512] for number in allowed):
                    number = int.from_bytes(found[at : at + 8], "little")
                    raise LossError(f"block {block} of 105a holds {number}, may hold {allowed}")

    def _check_generations(self, only: set[GenerationId] | None = None) -> None:
        """A backup that was resumed is of a later point: `only` leaves it out."""
        complete = {one.label: one for one in self.b.list_generations() if one.is_complete}
        for label in self.promised.complete:
            if label not in complete:
                raise LossError(f"generation {label} was complete")
        for label, one in complete.items():
            if label not in self.promised.known or not (only is None or one.generation_id in only):
                continue
            wanted = b"".join(stamp(number) for number in self.promised.known[label])
            if self._bytes(self.b, one.members[0].svol) != wanted:
                raise LossError(f"generation {label} isn't what was backed up")

    def _end_workflows(self) -> None:
        for system in reversed(self.systems):
            for record in list_workflows(system):
                if record.state in _ENDED or record.request.get("led_elsewhere"):
                    continue
                ways: list[Callable[..., object]] = [resume, abandon]
                self.draw.shuffle(ways)
                try:
                    ways[0](system, record.workflow_id)
                except (RefusedError, WorkflowError):
                    ways[1](system, record.workflow_id)
                wait_quiet(*self.systems)
        for system in self.systems:
            for record in list_workflows(system):
                if record.state not in _ENDED:
                    raise LossError(f"{system.system_id}: {record} has no end")
            for volume in system.volumes():
                holder = system.state.journal.holder(volume.volume_id)
                if holder is not None:
                    raise LossError(f"{volume.volume_id} stays leased to {holder}")
            if any(one.pins for one in system.list_generations()):
                raise LossError(f"{system.system_id}: a pin stays")
            undecided = [one for one in system.list_generations() if one.state in _UNDECIDED]
            if undecided:
                raise LossError(f"{system.system_id}: {undecided[0]} has no end")

    def _bring_home(self) -> None:
        for pair in [one for one in self.a.pairs() if one.row.is_remote]:
            here, there = pair.row.volume_id, pair.row.mirror_volume_id
            if self._at_b(pair) is None:  # the crash was between the two systems' parts of it
                if here == "105a":
                    raise LossError(f"100b has lost pair {pair.pair_id}")
                pair.dissolve()
                continue
            self._resync(pair)
            wait_until(lambda pair=pair: self._is_duplex_at_b(pair))  # type: ignore[misc]
            if self._bytes(self.a, here) != self._bytes(self.b, there):
                raise LossError(f"{here} and {there} differ in DUPLEX")
        held = {m.svol for one in self.b.list_generations() if one.is_complete for m in one.members}
        for pair in [one for one in self.b.pairs() if not one.row.is_remote]:
            if pair.row.mirror_volume_id not in held:
                self._resync(pair)
                pvol, svol = pair.row.volume_id, pair.row.mirror_volume_id
                if self._bytes(self.b, pvol) != self._bytes(self.b, svol):
                    raise LossError(f"{pvol} and {svol} differ in DUPLEX")
        self.a.volume("105a").pwrite(self._bytes(self.a, "105a")[:512], 0)  # no fence is left

    def _at_b(self, pair: Pair) -> Row | None:
        found = [one.row for one in self.b.pairs() if one.pair_id == pair.pair_id]
        return found[0] if found else None

    def _is_duplex_at_b(self, pair: Pair) -> bool:
        row = self._at_b(pair)
        return row is not None and row.status is PairStatus.DUPLEX

    def _resync(self, pair: Pair) -> None:
        try:
            bring_home(pair)
        except AssertionError as error:
            raise LossError(f"{pair.pair_id} doesn't become DUPLEX: {error}") from error


def keep(path: Path, where: Path) -> None:
    """Keep a log that led to a failure."""
    where.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, where)
