"""Two systems, a simulated path, random hosts, operators and mishaps: everything from one seed.

Each step is something that hosts, operators or fate do; after it the systems are compared with the
reference model, and INV-1 to 7 are checked. What is drawn depends on the seed and on what the
systems made of the steps before; threads run as the machine lets them, so that a failure that
hangs on an interleaving may need a few repetitions.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Sequence

from machine.world import PVOLS, QUEUE_BYTES, SPVOLS, Shape, World
from pyrep.engine import ChangedBacking
from pyrep.errors import (
    BusyError,
    FencedError,
    MirrorLostError,
    PathLostError,
    PyrepError,
    RefusedError,
    WorkflowError,
)
from pyrep.model import (
    AckPoint,
    Compare,
    Congestion,
    Direction,
    FenceLevel,
    GenerationState,
    PairStatus,
    SplitCause,
    WorkflowState,
)
from pyrep.testing import (
    Asked,
    Content,
    HostWrite,
    Kind,
    PowerLoss,
    ReferencePair,
    SimulatedPath,
    VolumeName,
    check_covered,
    check_one_point,
    wait_until,
)
from pyrep.workflows import BackupSides, HoldAck, abandon, backup, list_workflows, restore, resume

SIZE_BYTES = 4 * 65536 + 5000  # the last chunk is partial, whatever the chunk size
_HELD = {GenerationState.COMPLETE, GenerationState.UNCONFIRMED}
Planned = tuple[VolumeName, HostWrite]


class SimulationError(AssertionError):
    """A step led to what can't be; the text has the steps and the line that repeats them."""


class Simulation:
    """One run.

    Args:
        seed: what it is made of.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.draw = random.Random(seed)
        self.look = random.Random(f"look {seed}")  # of its own: what others draw stays
        ack = self.draw.choice(list(AckPoint))
        second_ack = self.draw.choice([ack, ack, *AckPoint])
        congestion = self.draw.choice(list(Congestion))
        is_async = ack is second_ack is AckPoint.QUEUED
        fenced = AckPoint.QUEUED not in {ack, second_ack} and congestion is Congestion.BLOCK
        self.shape = Shape(
            size_bytes=SIZE_BYTES,
            remote_chunk_bytes=self.draw.choice([4096, 8192, 65536]),
            local_chunk_bytes=self.draw.choice([4096, 16384]),
            ack=ack,
            second_ack=second_ack,
            congestion=congestion,
            fence_level=self.draw.choice(list(FenceLevel)) if fenced else FenceLevel.NEVER,
            volatile=self.draw.random() < 0.5,
            simulated=seed,
        )
        self.log: list[str] = [str(self.shape)]
        self.world = World(self.shape)
        self._steps: dict[Callable[[], object], int] = {
            self.write: 8,
            self.write_at_the_secondary: 2,
            self.write_under_a_fault: 8,
            self.write_while_fenced: 2,
            # One synchronous host waits for its acknowledgement, and fills no queue.
            self.write_too_much: 3 if is_async and congestion is Congestion.PULL_AHEAD else 0,
            self.split: 4,
            self.resync: 6,
            self.resync_under_a_fault: 5,
            self.command_under_a_fault: 3,
            self.back_up: 4,
            self.back_up_under_a_fault: 3,
            self.restore: 2,
            self.restore_under_a_fault: 2,
            self.cut: 2,
            self.connect: 6,
            self.revive: 2,
            self.crash: 2,
            self.crash_unnoticed: 3,
            self.reopen: 1,
            self.keep_a_copy: 1,
            self.put_back: 1,
        }

    def run(self, count: int) -> None:
        """Take so many steps.

        Raises:
            SimulationError: something is as it can't be.
        """
        for number in range(count):
            (step,) = self.draw.choices(list(self._steps), list(self._steps.values()))
            self.note(f"{number}: {step.__name__}")
            try:
                step()
                self.come_to_rest()
                self.world.check()
                self.verify_now_and_then()
            except (AssertionError, PyrepError) as error:
                lines = "\n  ".join(self.log[:1] + self.log[-40:])
                raise SimulationError(
                    f"{error}\nafter\n  {lines}\nAgain: PYREP_SIM_SEED={self.seed} "
                    f"PYREP_SIM_STEPS={number + 1} .venv/bin/pytest tests/sim/test_simulation.py"
                ) from error

    def close(self) -> None:
        """End everything."""
        self.world.close()

    def note(self, what: str) -> None:
        """Say what is done."""
        self.log.append(what)

    def verify_now_and_then(self) -> None:
        """A verification finds a pair equal, and what is planted."""
        if self.look.random() < 0.8:
            return
        one = self.look.choice(list(self.world.reference.pairs.values()))
        if one.here.status is one.there.status and (not one.is_remote or self.path.is_up):
            self.world.verify(one, self.look.randrange(SIZE_BYTES))

    # --- looking ---------------------------------------------------------------------------------

    @property
    def path(self) -> SimulatedPath:
        """The path."""
        return self.world.simulated

    def pair_of(self, svol: VolumeName) -> ReferencePair:
        """Return the pair of an SVOL."""
        return next(one for one in self.world.reference.pairs.values() if one.svol == svol)

    def remote_pairs(self) -> list[ReferencePair]:
        """Return the remote pairs."""
        return [self.pair_of(one) for one in SPVOLS]

    def is_disturbed(self, one: ReferencePair) -> bool:
        """Whether a copy of this or a neighbouring pair is unfinished."""
        mine = {one.pvol, one.svol}
        return any(
            mine & {other.pvol, other.svol}
            and PairStatus.COPY in {other.here.status, other.there.status}
            for other in self.world.reference.pairs.values()
        )

    def random_write(self, length: int | None = None) -> HostWrite:
        """Return a write, sometimes of zeros, sometimes at the end."""
        if length is None:
            length = self.draw.choice([1, 512, 4096, 5000, 65536, 100_000])
        at_end = self.draw.random() < 0.1
        offset = SIZE_BYTES - length if at_end else self.draw.randrange(SIZE_BYTES - length)
        zeros = self.draw.random() < 0.1
        return HostWrite(
            offset=offset, data=bytes(length) if zeros else self.draw.randbytes(length)
        )

    # --- the path --------------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """Let what was begun on the path end; a path that fell silent is found out."""
        self.path.calm()
        wait_until(lambda: self.path.is_idle or not self.path.is_up)
        if not self.path.is_up:
            self.world.cut()

    def arm(self, kinds: Sequence[Kind]) -> None:
        """Let something befall the path, soon."""
        how = self.draw.choice(["cut", "drop", "silence"])
        match how:
            case "cut":
                count_bytes = self.draw.choice([0, 100, 1000, 5000, 20_000, 100_000])
                self.note(f"  cut after {count_bytes} bytes")
                self.path.cut_after(count_bytes)
            case "drop":
                kind = self.draw.choice(kinds)
                self.note(f"  drop {kind}")
                self.path.drop(kind)
            case _:
                told = self.draw.choice(["100a", "100b", None])
                self.note(f"  silence, told {told}")
                self.path.fall_silent(told=told)

    def cut(self) -> None:
        """Lose the path."""
        self.world.cut()

    def connect(self) -> None:
        """Bring the path up."""
        self.world.connect()

    def revive(self) -> None:
        """What was on its way over lost connections comes now."""
        self.note(f"  {self.path.revive()} came")

    # --- hosts -----------------------------------------------------------------------------------

    def write(self) -> None:
        """Write at the primary."""
        self.do_writes(self.plan(), armed=False)

    def write_under_a_fault(self) -> None:
        """Write at the primary while something happens to the path."""
        self.do_writes(self.plan(), armed=self.path.is_up)

    def plan(self) -> list[Planned]:
        """Return writes to the PVOLs that take some."""
        takes = [one for one in PVOLS if self.takes(one)]
        count = self.draw.randint(1, 6) if takes else 0
        return [(self.draw.choice(takes), self.random_write()) for _ in range(count)]

    def takes(self, pvol: VolumeName) -> bool:
        """Whether a PVOL takes host writes: with fence level data, while its mirror does."""
        return self.world.reference.takes_host_writes(pvol) and not self.is_fenced(pvol)

    def is_fenced(self, pvol: VolumeName) -> bool:
        """Whether fence level data keeps hosts off: by its status, or because the path is down."""
        (pair,) = (one for one in self.remote_pairs() if one.pvol == pvol)
        runs = pair.here.status is not PairStatus.SPLIT
        return pair.is_fenced or (
            pair.fence_level is FenceLevel.DATA and runs and not self.path.is_up
        )

    def write_while_fenced(self) -> None:
        """Write to a PVOL that fence level data keeps hosts off: nothing changes."""
        for name in filter(self.is_fenced, PVOLS):
            write = self.random_write()
            try:
                self.world.systems[name[0]].volume(name[1]).pwrite(write.data, write.offset)
            except (MirrorLostError, FencedError):
                continue
            raise AssertionError(f"{name} took a write that its mirror doesn't have")

    def write_too_much(self) -> None:
        """Write more than the queue takes: the group pulls ahead, and comes back by itself.

        What its SVOLs' mirrors keep before they are copied into is one point for the whole group.
        """
        reference, pairs = self.world.reference, self.remote_pairs()
        duplex = all(one.here.status is PairStatus.DUPLEX for one in pairs)
        if not self.path.is_up or not duplex or not all(self.takes(one) for one in PVOLS):
            return
        before = {one.svol: reference.content(one.svol).copy() for one in pairs}
        svols = {one.pvol: one.svol for one in pairs}
        known = self.known_generations()
        plan = [
            (self.draw.choice(PVOLS), self.random_write(60_000))
            for _ in range(2 * QUEUE_BYTES // 60_000)
        ]
        self.path.stall()
        self.host(plan, beside=False)
        self.world.observe(congested=True)
        for one in self.remote_pairs():
            assert one.here.cause is SplitCause.CONGESTED, one
        check_covered(*self.world.open_systems(), put_back=self.world.apart)
        for name, write in plan:
            reference.write(name, write)
        self.path.resume()
        self.world.settle()
        found = {
            self.pair_of(svol).pvol: self.world.live(svol)
            for generation_id, members in self.world.observed().generations.items()
            if generation_id not in known
            for svol in members
        }
        shipped = [(svols[name], write) for name, write in plan]
        if found:
            count = check_one_point(before, shipped, found)
            self.note(f"  {count} of {len(plan)} before the point, {sorted(found)}")
            assert 0 < count < len(plan)
            for svol, write in shipped[:count]:
                reference.write(svol, write)
        self.world.observe(congested=True)

    def do_writes(self, plan: list[Planned], *, armed: bool) -> None:
        """Do the writes; after a fault each group's SVOLs hold the same prefix of them."""
        reference = self.world.reference
        remote = {
            one.pvol: one for one in self.remote_pairs() if one.here.status is PairStatus.DUPLEX
        }
        before = {one.svol: reference.content(one.svol).copy() for one in remote.values()}
        beside = self.draw.random() < 0.5
        if armed:
            self.arm([Kind.FRAME, Kind.ACK])
        refused = self.host(plan, beside=beside)
        self.come_to_rest()
        plan = [one for one in plan if one not in refused or self.is_written(one)]
        if self.path.is_up or not remote:
            for name, write in plan:
                reference.write(name, write)
            return
        self.world.settle()
        self.world.observe()
        shipped = [(remote[name].svol, write) for name, write in plan if name in remote]
        groups = [[svol] for svol in before] if beside else [list(before)]
        for svols in groups:  # of one host's writes: a prefix over both volumes
            mine = [(svol, write) for svol, write in shipped if svol in svols]
            found = {svol: self.world.live(svol) for svol in svols}
            count = check_one_point({svol: before[svol] for svol in svols}, mine, found)
            self.note(f"  {count} of {len(mine)} arrived at {svols}")
            for svol, write in mine[:count]:
                reference.write(svol, write)
        for name, write in plan:
            reference.write(name, write)

    def is_written(self, one: Planned) -> bool:
        """Whether a write that ended in an error is in its volume all the same."""
        (name, write) = one
        held = self.world.live(name)[write.offset : write.offset + len(write.data)]
        return held == write.data

    def host(self, plan: list[Planned], *, beside: bool) -> list[Planned]:
        """Do writes one after the other; `beside`: those of each volume by a host of its own.

        Returns:
            The writes that fence level data has refused; a host stops at its first. That one may
            have been written, the others weren't tried.
        """
        refused: list[Planned] = []

        def one_host(mine: list[Planned]) -> None:
            for number, (name, write) in enumerate(mine):
                try:
                    self.world.systems[name[0]].volume(name[1]).pwrite(write.data, write.offset)
                except MirrorLostError:
                    assert self.shape.fence_level is FenceLevel.DATA
                    refused.extend(mine[number:])
                    return

        if not beside:
            one_host(plan)
            return refused
        hosts = [
            threading.Thread(target=one_host, args=([one for one in plan if one[0] == name],))
            for name in PVOLS
        ]
        for each in hosts:
            each.start()
        for each in hosts:
            each.join()
        return refused

    def write_at_the_secondary(self) -> None:
        """Write to an SPVOL, if it takes it."""
        name = self.draw.choice(SPVOLS)
        if self.world.reference.takes_host_writes(name):
            self.world.write(name, self.random_write())

    # --- pairs -----------------------------------------------------------------------------------

    def random_pair(self) -> ReferencePair:
        """Return one of the pairs, remote ones more often."""
        if self.draw.random() < 0.4:
            return self.draw.choice(self.remote_pairs())
        return self.draw.choice(list(self.world.reference.pairs.values()))

    def split(self) -> None:
        """Split a pair, or all local pairs of one side's volumes."""
        one = self.random_pair()
        self.note(f"  {one.pair_id} {one.here.status}")
        with contextlib.suppress(RefusedError, BusyError, PathLostError):
            self.world.systems[one.pvol[0]].pair(one.pair_id).split()
            self.world.note({one.pair_id: Asked.SPLIT})

    def resync(self) -> None:
        """Resync a pair to the end."""
        one, direction = self.random_pair(), self.draw.choice(list(Direction))
        if one.is_remote and not self.path.is_up:
            return
        self.begin_resync(one, direction, wait=True)

    @staticmethod
    def loser(one: ReferencePair, direction: Direction) -> str | None:
        """Return the system whose side a remote resync gives up, written to or not."""
        if not one.is_remote:
            return None
        return one.svol[0] if direction is Direction.FORWARD else one.pvol[0]

    def begin_resync(self, one: ReferencePair, direction: Direction, *, wait: bool) -> bool:
        """Begin a resync; return whether it was accepted."""
        before = one.here.status
        self.note(f"  {one.pair_id} {before} {direction}")
        try:
            job = (
                self.world.systems[one.pvol[0]]
                .pair(one.pair_id)
                .resync(
                    direction=direction,
                    discard=self.loser(one, direction),
                    compare=self.look.choice(list(Compare)),
                )
            )
        except (RefusedError, BusyError, PathLostError):
            return False
        if job is None:
            return False
        if before is not PairStatus.DUPLEX:
            self.world.note({one.pair_id: Asked(direction.value)})
        if wait:
            job.wait(60)
        return True

    def resync_under_a_fault(self) -> None:
        """Resync a remote pair, and let something happen to the path while frames are on it."""
        one, direction = self.draw.choice(self.remote_pairs()), self.draw.choice(list(Direction))
        if not self.path.is_up:
            return
        # What is queued has to arrive before a copy begins: behind a stall it costs a time-out.
        primary = self.world.systems["100a"]
        primary.remote_pairs.line.drain(primary.state.mirror(one.pair_id))  # type: ignore[arg-type]
        self.path.stall()
        begun = self.begin_resync(one, direction, wait=False)
        if begun:
            self.world.observe()
            self.arm([Kind.FRAME, Kind.ACK, Kind.REQUEST, Kind.ANSWER])
        self.path.resume()

    def command_under_a_fault(self) -> None:
        """Split a remote pair while the path is about to lose something."""
        one = self.draw.choice(self.remote_pairs())
        if not self.path.is_up or self.is_disturbed(one):
            return
        self.arm([Kind.REQUEST, Kind.ANSWER])
        self.world.note({one.pair_id: Asked.SPLIT})
        with contextlib.suppress(RefusedError, BusyError, PathLostError):
            self.world.systems["100a"].pair(one.pair_id).split()

    # --- workflows -------------------------------------------------------------------------------

    def back_up(self) -> None:
        """Back up, one volume or both, at one side or both."""
        self.do_backup(armed=False)

    def back_up_under_a_fault(self) -> None:
        """Back up while something happens to the path; what stopped is abandoned."""
        self.do_backup(armed=self.path.is_up)

    def do_backup(self, *, armed: bool) -> None:
        """Back up."""
        asked = self.draw.choice([PVOLS, PVOLS[:1], PVOLS[1:]])
        sides, hold_ack = self.draw.choice(list(BackupSides)), self.draw.choice(list(HoldAck))
        self.note(f"  {[one[1] for one in asked]} {sides}")
        if armed:
            self.arm(list(Kind)[:4])
        known = self.known_generations()
        primary = self.world.systems["100a"]
        with contextlib.suppress(RefusedError, PathLostError, BusyError, WorkflowError):
            report = backup(
                primary,
                [volume_id for _, volume_id in asked],
                sides=sides,
                hold_ack=hold_ack,
                reuse_last=True,
                hold_max_ms=30_000,
            )
            self.note(f"  made {[one.generation_id for one in report.generations]}")
        self.come_to_rest()
        self.end_workflows()
        self.world.settle()
        self.note_backup(known)

    def known_generations(self) -> set[str]:
        """Return the generations whose content somebody holds."""
        return {
            one.generation_id
            for system in self.world.open_systems()
            for one in system.list_generations()
            if one.home == system.system_id and one.state in _HELD
        }

    def note_backup(self, known: set[str]) -> None:
        """Tell the reference what a backup that may have stopped half-way may have touched."""
        reference = self.world.reference
        touched = {
            one.pair_id: Asked.BACKUP for one in reference.pairs.values() if not one.is_remote
        }
        frozen: dict[str, dict[VolumeName, Content]] = {}
        for generation_id, members in self.world.observed().generations.items():
            if generation_id not in known:
                frozen[generation_id] = {
                    svol: reference.content(self.pair_of(svol).pvol).copy() for svol in members
                }
        self.world.note(touched, frozen)
        self.world.observe()
        self.world.forget_asked()

    def end_workflows(self) -> None:
        """Bring the path back and end what stopped: abandon it, or go on where that can't be."""
        for system_id in ("100a", "100b"):
            system = self.world.systems[system_id]
            for record in list_workflows(system):
                if record.state is not WorkflowState.STOPPED:
                    continue
                if record.request.get("led_elsewhere"):
                    continue
                self.world.connect()
                self.world.settle()
                self.note(f"  {system_id} abandons {record.workflow_id} at {record.step}")
                try:
                    abandon(system, record.workflow_id)
                except RefusedError:
                    resume(system, record.workflow_id)

    def restore(self) -> None:
        """Restore a volume (Fig. 6)."""
        self.do_restore(armed=False)

    def restore_under_a_fault(self) -> None:
        """Restore while something happens to the path; what stopped goes on afterwards."""
        self.do_restore(armed=True)

    def do_restore(self, *, armed: bool) -> None:
        """Restore a volume from a generation that 100b holds."""
        reference, system = self.world.reference, self.world.systems["100b"]
        held = [
            (generation_id, svol)
            for generation_id, members in reference.generations.items()
            for svol in members
            if svol[0] == "100b"
        ]
        if not held or not self.path.is_up:
            return
        generation_id, svol = self.draw.choice(held)
        source = self.pair_of(svol).pvol
        catalogue = system.generations
        member = catalogue.member(catalogue.get(generation_id), source[1])  # type: ignore[arg-type]
        local = reference.pairs[member.pair_id]
        remote = self.pair_of(local.pvol)
        content = reference.content(local.svol).copy()
        siblings = [
            one
            for one in reference.pairs.values()
            if one.pvol == local.pvol and one.here.status is PairStatus.COPY
        ]
        self.note(f"  {generation_id} to {local.pvol}")
        if armed:
            self.arm([Kind.REQUEST, Kind.ANSWER, Kind.FRAME, Kind.ACK])
        try:
            restore(system, generation_id, local.pvol[1], whole=True)
        except (RefusedError, BusyError, PathLostError):
            self.note("  refused")
            self.come_to_rest()
            self.end_workflows()
            return
        except WorkflowError as error:
            self.note(f"  stopped: {error}")
            self.come_to_rest()
            if not self.go_on():
                return
        self.world.note({one.pair_id: Asked.SPLIT for one in siblings})
        self.world.note({local.pair_id: Asked.REVERSE, remote.pair_id: Asked.RESTORE})
        assert self.world.live(remote.pvol) == content.to_bytes(), "it isn't what was restored"

    def go_on(self) -> bool:
        """Resume a stopped restore with the path back; False: it had to be abandoned."""
        system = self.world.systems["100b"]
        self.world.connect()
        self.world.settle()
        record = list_workflows(system)[-1]
        try:
            resume(system, record.workflow_id)
        except (RefusedError, WorkflowError) as error:
            self.note(f"  abandoned: {error}")
            abandon(system, record.workflow_id)
            return False
        return True

    # --- systems ---------------------------------------------------------------------------------

    def random_loss(self) -> PowerLoss:
        """Return what a power loss takes."""
        return PowerLoss(
            seed=self.draw.randrange(100),
            keep_one_in=self.draw.randrange(4),
            tear=self.draw.random() < 0.5,
        )

    def crash(self) -> None:
        """A system loses power; the other one is told."""
        system_id = self.draw.choice(["100a", "100b"])
        self.note(f"  {system_id}")
        self.world.crash(system_id, self.random_loss())

    def crash_unnoticed(self) -> None:
        """A system loses power and is back before the other one has noticed."""
        system_id = self.draw.choice(["100a", "100b"])
        self.note(f"  {system_id}")
        self.path.fall_silent()
        self.world.crash(system_id, self.random_loss())
        self.world.settle()
        self.world.observe()
        self.world.connect()
        if self.draw.random() < 0.5:
            self.revive()

    def reopen(self) -> None:
        """A system is closed and opened again."""
        system_id = self.draw.choice(["100a", "100b"])
        self.note(f"  {system_id}")
        self.world.reopen(system_id)

    def keep_a_copy(self) -> None:
        """A system is closed, or loses power, and its directory is copied before it is opened."""
        system_id = self.draw.choice(["100a", "100b"])
        closes = self.draw.random() < 0.5
        self.note(f"  {system_id}, {'closed' if closes else 'crashed'}")
        if closes:
            self.world.reopen(system_id, keeps=True)
        else:
            self.world.crash(system_id, self.random_loss(), keeps=True)

    def put_back(self) -> None:
        """A system is lost, and the last copy of it is put in its place."""
        system_id = self.draw.choice(["100a", "100b"])
        changed = self.draw.choice([ChangedBacking.ASSUME_UNCHANGED, ChangedBacking.ALL_PENDING])
        found = self.world.put_back(system_id, changed)
        self.note(f"  {system_id} {changed if found else 'no copy'}")
