"""What is found after a power loss of recorded systems, recovered, checked, brought to an end."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from crash import acts
from crash.blocks import CHUNK, OPTIONS, SPREAD, read_blocks, read_numbers, stamped, stray_data
from crash.bound import Bound, torn_files
from crash.filesystem import check_file_system
from crash.promised import LossError, Promised, State
from pyrep import PairStatus, StorageSystem, abandon, check_system, connect, list_workflows, resume
from pyrep._core import Bitmap
from pyrep.engine import Pair, Severity
from pyrep.errors import PyrepError, RefusedError, WorkflowError
from pyrep.model import (
    Direction,
    Generation,
    GenerationCause,
    GenerationId,
    GenerationState,
    Row,
    VolumeId,
    WorkflowState,
)
from pyrep.testing import (
    check_covered,
    check_duplex,
    check_durable_first,
    check_no_early_clear,
    check_one_writer,
    check_remote_stays,
    wait_quiet,
    wait_until,
)
from pyrep.testing.recording import Recording
from pyrep.testing.sides import first_uncovered
from rig import LONG_S, bring_home

SIDES = ("100a", "100b")
_MEMORY = Path("/dev/shm")  # noqa: S108
_ENDED = {WorkflowState.DONE, WorkflowState.ABANDONED}
_UNDECIDED = {GenerationState.TAKING, GenerationState.UNCONFIRMED}


def make_directory() -> tempfile.TemporaryDirectory[str]:
    """Make one in memory, if there is any."""
    memory = _MEMORY if _MEMORY.is_dir() else None
    return tempfile.TemporaryDirectory(dir=memory, prefix="pyrep-crash-")


def check_offline(directory: Path) -> None:
    """Have a system looked at that nobody has open."""
    report = check_system(directory)
    # Files made anew have other inodes; that isn't what is looked for.
    wrong = [one for one in report.wrong if not one.thing.startswith(("volume", "workflow"))]
    if any(one.severity is Severity.FAILED for one in wrong):
        raise LossError(f"{directory.name}: {[str(one) for one in wrong]}")


def reopen(directory: Path, marks: Sequence[str], torn: frozenset[str] | None) -> StorageSystem:
    """Open a system after a power loss; no more is pending in it than `Bound` allows."""
    system = StorageSystem.open(directory, options=OPTIONS)
    if torn is not None:
        try:
            Bound(marks).check(system, torn)
        except LossError:
            system.abort()
            raise
    return system


def check_order(system: StorageSystem, promised: Promised) -> None:
    """What the secondary has got is all writes up to one, in their order over volumes (INV-6).

    Of the volumes whose content it calls consistent, and that no copy, workflow or host there
    changes: what its own hosts haven't flushed is durable in any order.
    """
    with system.state.control:
        found = {
            row.mirror_volume_id: read_numbers(
                system.state.volume(row.volume_id).io, promised.layouts[row.mirror_volume_id]
            )
            for row in (one.row for one in system.pairs() if one.row.is_remote)
            if not row.is_primary
            and row.target_consistent
            and not row.lineage.written
            and row.status is not PairStatus.COPY
            and row.direction is Direction.FORWARD
            and system.state.journal.holder(row.volume_id) is None
            and row.mirror_volume_id in promised.layouts
        }
    if not any(all(one.get(each) == found[each] for each in found) for one in promised.states):
        raise LossError(f"{system.system_id} has writes without those before them: {found}")


class Aftermath:
    """Systems after a power loss, open and connected, and what they must come to.

    Args:
        base: where their directories are.
        systems: 100a and 100b.
        marks: what was marked before.
        torn: see `Bound.check`; None: a disk has failed, everything may be pending.
        draw: how it is brought to an end.
        ended: how many of them have lost power.
    """

    def __init__(
        self,
        base: Path,
        systems: list[StorageSystem],
        marks: Sequence[str],
        torn: frozenset[str] | None,
        draw: random.Random,
        *,
        ended: int = 2,
    ) -> None:
        self.base = base
        self.systems = systems
        self.promised = Promised.by(marks)
        self.bound = Bound(marks)
        self.torn = torn
        self.draw = draw
        self.ended = ended
        self._frozen: dict[tuple[GenerationId, VolumeId], tuple[int, ...]] | None = None

    @property
    def a(self) -> StorageSystem:
        return self.systems[0]

    @property
    def b(self) -> StorageSystem:
        return self.systems[1]

    def check(self) -> None:
        """Check the invariants, once nothing runs."""
        wait_quiet(*self.systems)
        if not self.promised.is_damaged:  # behind pyrep's back: nobody has marked it
            check_covered(*self.systems)
            check_no_early_clear(*self.systems)
        self._check_bound()
        check_durable_first(*self.systems)
        check_one_writer(*self.systems)
        for system in self.systems:
            check_remote_stays(system.list_generations(), *self.systems)

    def _check_bound(self) -> None:
        """As at the opens; but what a torn page has brought may have been copied on."""
        if self.torn is not None and not self.torn:
            for system in self.systems:
                self.bound.check(system, sides=self.ended)

    def check_content(self) -> None:
        """Check what volumes and generations hold."""
        self._check_volumes()
        self._check_generations()

    def finish(self) -> None:
        """End what was under way, bring the pairs home, check again.

        Raises:
            AssertionError, PyrepError: what was promised isn't so, or nothing leads on from here.
        """
        self._end_workflows()
        self._bring_home()
        self.promised.is_damaged = False
        self.check()
        check_duplex(*self.systems)
        self.check_content()
        self._check_restoring()
        if any(one != SPREAD for one in self.promised.layouts.values()):
            check_file_system(self.base / "100a" / "volumes" / "105a.img")

    # --- content ---------------------------------------------------------------------------------

    def _check_volumes(self) -> None:
        """Each volume holds, per block, a write that it may hold; a torn one may be part of two."""
        for volume, layout in self.promised.layouts.items():
            if volume not in {one.volume_id for one in self.a.volumes()}:
                if volume == "105a":
                    raise LossError("105a is gone")
                continue
            io = self.a.state.volume(VolumeId(volume)).io
            allowed = self.promised.allowed[volume]
            for block, data in enumerate(read_blocks(io, layout)):
                if not stamped(data, allowed[block]):
                    number = int.from_bytes(data[:8], "little")
                    raise LossError(
                        f"block {block} of {volume} holds {number}, may hold {allowed[block]}"
                    )
            stray = stray_data(io, layout) if layout == SPREAD else None
            if stray is not None:
                raise LossError(f"{volume} holds something at {stray}, where nobody wrote")

    def _held(self) -> list[Generation]:
        return [one for one in self.b.list_generations() if one.is_complete]

    def _check_generations(self) -> None:
        """They are of one point each (INV-6), and stay as they are (INV-4).

        Those that were there when this was asked first: what came later is of what recovery found.
        """
        frozen = self._frozen
        seen: dict[tuple[GenerationId, VolumeId], tuple[int, ...]] = {}
        held = {one.generation_id: one for one in self._held()}
        labels = {one.label for one in held.values()}
        for label in self.promised.complete:
            if label not in labels and not (self.promised.keeps_newest and held):
                raise LossError(f"generation {label} was complete")
        for one in held.values():
            found: State = {}
            for member in one.members:
                volume = member.origin_volume
                layout = self.promised.layouts.get(volume)
                if layout is None:
                    continue
                io = self.b.state.volume(member.svol).io
                found[volume] = read_numbers(io, layout)
                key = one.generation_id, member.svol
                seen[key] = found[volume]
                if frozen is not None and frozen.get(key, found[volume]) != found[volume]:
                    raise LossError(f"generation {one.label or one.generation_id} has changed")
            if frozen is None and one.cause is not GenerationCause.REPAIR:
                self._check_point(one, found)
        if frozen is None:
            self._frozen = seen

    def _check_point(self, one: Generation, found: State) -> None:
        name = one.label or one.generation_id
        states = self.promised.known.get(one.label, self.promised.states)
        if not any(all(state.get(each) == found[each] for each in found) for state in states):
            raise LossError(f"generation {name} isn't what there was at any one point: {found}")

    def _check_restoring(self) -> None:
        """A restore that was under way is done, or wasn't: nothing in between."""
        one = self.promised.restoring
        if one is None:
            return
        io = self.a.state.volume(VolumeId(one.volume)).io
        found = read_blocks(io, self.promised.layouts[one.volume])
        is_after = all(stamped(found[block], {number}) for block, number in one.after.items())
        is_before = all(stamped(found[block], each) for block, each in one.before.items())
        if not is_after and not is_before:
            raise LossError(f"{one.volume} is half restored")

    # --- ways to an end --------------------------------------------------------------------------

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
            pins = [pin for one in system.list_generations() for pin in one.pins]
            if any(pin.startswith("workflow-") for pin in pins):
                raise LossError(f"{system.system_id}: a pin stays")
            undecided = [one for one in system.list_generations() if one.state in _UNDECIDED]
            if undecided:
                raise LossError(f"{system.system_id}: {undecided[0]} has no end")

    def _bring_home(self) -> None:
        for pair in [one for one in self.a.pairs() if one.row.is_remote]:
            here = pair.row.volume_id
            if self._at_b(pair) is None:  # the crash was between the two systems' parts of it
                if here == "105a":
                    raise LossError(f"100b has lost pair {pair.pair_id}")
                pair.dissolve()
                continue
            self._resync(pair)
            wait_until(lambda pair=pair: self._is_duplex_at_b(pair))  # type: ignore[misc]
            self._check_equal(pair.row, self.b)
        held = {member.svol for one in self._held() for member in one.members}
        if self.promised.is_damaged:  # perhaps one of these
            held.clear()
        for pair in [one for one in self.b.pairs() if not one.row.is_remote]:
            if pair.row.mirror_volume_id not in held:
                self._resync(pair)
                self._check_equal(pair.row, self.b)
        for volume in self.promised.layouts:  # no fence is left
            if volume in {one.volume_id for one in self.a.volumes()}:
                io = self.a.state.volume(VolumeId(volume)).io
                self.a.volume(volume).pwrite(io.pread(512, 0), 0)

    def _check_equal(self, row: Row, far: StorageSystem) -> None:
        here = self.a if row.is_remote else self.b
        one = here.state.volume(row.volume_id).io
        other = far.state.volume(row.mirror_volume_id).io
        if first_uncovered(one, other, CHUNK, Bitmap(one.size_bytes // CHUNK)) is not None:
            raise LossError(f"{row.volume_id} and {row.mirror_volume_id} differ in DUPLEX")

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
        if self.promised.is_damaged:
            job = pair.repair(pair.verify())
            if job is not None:
                job.wait(LONG_S)


class Recovery:
    """Both systems as they are found at one cut.

    Args:
        recording: of a workload.
        cut: before which of its effects the power goes.
        seed: what of the rest is lost, at which side, and how it is ended.
        is_bounded: whether no disk has failed: then not everything may be pending.
    """

    def __init__(
        self, recording: Recording, cut: int, seed: int, *, is_bounded: bool = True
    ) -> None:
        self.draw = random.Random(seed * 100_003 + cut)
        self.marks = recording.marks(cut)
        self._until = contextlib.ExitStack()
        self.base = self._make_base(recording)
        kept = {side: self.draw.choice([0, 1, 2, 3]) for side in SIDES}
        files = recording.after_power_loss(
            cut, seed, lambda path: kept.get(path.split("/")[0], 1), tear=self.draw.random() < 0.5
        )
        for side in kept:
            for name in ("volumes", "bitmaps"):
                (self.base / side / name).mkdir(parents=True)
        for path, data in files.items():
            (self.base / path).parent.mkdir(parents=True, exist_ok=True)
            data.save(self.base / path)
        torn = frozenset[str]().union(*(torn_files(self.base / side) for side in SIDES))
        self.torn = torn if is_bounded else None
        self.systems: list[StorageSystem] = []

    def close(self) -> None:
        for system in self.systems:
            with contextlib.suppress(PyrepError):
                system.abort()
        self._until.close()

    def _make_base(self, recording: Recording) -> Path:
        """Where it was recorded, if a volume was attached: that is known by its path."""
        if not any(acts.THEIRS in one.path.split("/") for one in recording.effects):
            return Path(self._until.enter_context(make_directory()))
        base = Path(recording.directory)
        base.mkdir(parents=True)
        self._until.callback(shutil.rmtree, base)
        return base

    def run(self) -> None:
        """Open, check, end what was under way, check again.

        Raises:
            AssertionError, PyrepError: what was promised isn't so, or nothing leads on from here.
        """
        for side in SIDES:
            check_offline(self.base / side)
        self._open(SIDES)
        if self.draw.random() < 0.3:  # recovery itself is interrupted
            for system in self.systems:
                system.abort()
            self._open(SIDES)
        found = Aftermath(self.base, self.systems, self.marks, self.torn, self.draw)
        found.check()
        found.check_content()
        if not found.promised.is_damaged:
            check_order(found.b, found.promised)
        connect(*self.systems)
        found.check()
        found.finish()

    def _open(self, sides: Sequence[str]) -> None:
        self.systems.clear()
        for side in sides:
            self.systems.append(reopen(self.base / side, self.marks, self.torn))


def keep(path: Path, where: Path) -> None:
    """Keep a log that led to a failure."""
    where.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, where)
