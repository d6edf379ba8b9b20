"""Steps of the simulation in which operators back up and restore."""

from __future__ import annotations

import contextlib

from machine.world import PVOLS
from pyrep.errors import (
    BusyError,
    PathLostError,
    RefusedError,
    WorkflowError,
)
from pyrep.model import (
    PairStatus,
    WorkflowState,
)
from pyrep.testing import (
    Asked,
    Content,
    HostWrite,
    Kind,
    ReferencePair,
    VolumeName,
)
from pyrep.testing.content import BLOCK_BYTES
from pyrep.workflows import BackupSides, HoldAck, abandon, backup, list_workflows, restore, resume
from sim.scene import Scene


class Procedures(Scene):
    """What operators do with workflows."""

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
        for one in reference.pairs.values():
            if not one.is_remote and one.here.status is PairStatus.SPLIT:
                self.take_over_copy(one)

    def take_over_copy(self, one: ReferencePair) -> None:
        """Let an SVOL that holds no generation have what a backup that failed has copied to it."""
        reference = self.world.reference
        known = reference.is_known(one.pvol) and reference.is_known(one.svol)
        if not known or reference.holder(one.svol):
            return
        source, target = reference.content(one.pvol), reference.content(one.svol)
        if target != source and self.world.live(one.svol) == source.to_bytes():
            for index in list(target.differing_from(source)):
                offset = index * BLOCK_BYTES
                length = min(BLOCK_BYTES, source.size_bytes - offset)
                reference.write(
                    one.svol, HostWrite(offset=offset, data=source.read(length, offset))
                )

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
