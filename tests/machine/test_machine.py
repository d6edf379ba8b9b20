"""The real systems beside the reference: any sequence of commands and mishaps keeps INV-1 to 7.

`make test` runs a bounded, repeatable selection; `make soak` many more and longer ones. A failure
prints the rules that repeat it.
"""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from machine.busy import LOWER_PLACES, copy_while_writing, repair_while_writing
from machine.draws import losses, picks, places, shapes, system_ids, volumes, writes, written
from machine.pairs import Pairs
from machine.world import PLACES, PVOLS, SPVOLS, Shape, World, place
from pyrep.engine import ChangedBacking, CopyJob, Pair, Volume
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
    Generation,
    GenerationCause,
    GenerationId,
    PairStatus,
    RetentionPolicy,
    VolumeId,
)
from pyrep.testing import (
    Asked,
    HostWrite,
    PowerLoss,
    ReferencePair,
    VolumeName,
    check_one_point,
    in_some_order,
    wait_until,
)
from pyrep.workflows import BackupSides, HoldAck, abandon, backup, list_workflows, restore


def in_threads(work: Sequence[Callable[[], None]]) -> list[threading.Thread]:
    """Start a thread for each; what one raises is raised by the test run (threading.excepthook)."""
    threads = [threading.Thread(target=one, name=f"host {n}") for n, one in enumerate(work)]
    for one in threads:
        one.start()
    return threads


def writers(volume: Volume, many: Sequence[HostWrite]) -> list[Callable[[], None]]:
    """Return a host's doing for each of the writes."""
    return [functools.partial(volume.pwrite, one.data, one.offset) for one in many]


class MirrorMachine(RuleBasedStateMachine):
    """Rules are what hosts, operators and fate do; after each of them everything is checked."""

    world: World
    pairs: Pairs

    @initialize(shape=shapes)
    def begin(self, shape: Shape) -> None:
        if shape.congestion is not Congestion.BLOCK or AckPoint.QUEUED in {
            shape.ack,
            shape.second_ack,
        }:
            shape = replace(shape, fence_level=FenceLevel.NEVER)  # it needs an answer
        self.world = World(shape)
        self.pairs = Pairs(self.world)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    # --- helpers ---------------------------------------------------------------------------------

    def pair(self, one: ReferencePair) -> Pair:
        """Return the pair at the system that orders its commands."""
        return self.world.systems[one.pvol[0]].pair(one.pair_id)

    # --- hosts -----------------------------------------------------------------------------------

    @rule(name=volumes, write=writes)
    def write(self, name: VolumeName, write: HostWrite) -> None:
        if self.pairs.takes(name):
            self.world.write(name, write)
            return
        try:
            self.world.systems[name[0]].volume(name[1]).pwrite(write.data, write.offset)
        except (FencedError, MirrorLostError):
            return
        raise AssertionError(f"{name} took a host write")

    @rule(name=volumes, number=places, trims=st.booleans())
    def wipe(self, name: VolumeName, number: int, trims: bool) -> None:
        length = 100_000
        offset = place(number, length)
        if self.pairs.takes(name):
            volume = self.world.systems[name[0]].volume(name[1])
            (volume.trim if trims else volume.zero)(length, offset)
            self.world.reference.write(name, HostWrite(offset=offset, data=bytes(length)))

    @rule(name=volumes, many=st.lists(writes, min_size=2, max_size=4))
    def write_at_once(self, name: VolumeName, many: list[HostWrite]) -> None:
        if not self.pairs.takes(name):
            return
        volume = self.world.systems[name[0]].volume(name[1])
        for thread in in_threads(writers(volume, many)):
            thread.join()
        before = self.world.reference.content(name)
        order = in_some_order(before, many, self.world.live(name))
        assert order is not None, f"no order of the concurrent writes gives what {name} holds"
        for one in order:
            self.world.reference.write(name, one)

    @rule(name=volumes)
    def flush(self, name: VolumeName) -> None:
        self.world.systems[name[0]].volume(name[1]).flush()
        self.world.reference.flush(name)

    # --- pairs -----------------------------------------------------------------------------------

    @rule(system_id=system_ids)
    def settle_mirrors(self, system_id: str) -> None:
        self.world.settle_mirrors(system_id)

    @rule(pick=picks)
    def split(self, pick: int) -> None:
        one = self.pairs.pick(pick)
        if one is None:
            return
        before = one.here
        try:
            generation = self.pair(one).split(label="by hand")
        except (RefusedError, BusyError):
            assert before.status is not PairStatus.DUPLEX or self.pairs.is_disturbed(one)
            return
        event(f"split {before.status}, remote {one.is_remote}")
        self.world.note({one.pair_id: Asked.SPLIT})
        is_local = not one.is_remote and before.status is PairStatus.DUPLEX
        assert (generation is not None) == (is_local and self.world.reference.is_known(one.svol))

    @rule(pvols=st.sampled_from([PVOLS, SPVOLS]), many=st.lists(writes, max_size=12))
    def split_group_under_writes(
        self, pvols: tuple[VolumeName, ...], many: list[HostWrite]
    ) -> None:
        """INV-6: what is split with one command holds a prefix of what was written meanwhile."""
        reference = self.world.reference
        chosen = [
            one
            for pvol in pvols
            for one in reference.pairs.values()
            if one.pvol == pvol and not one.is_remote and one.here.status is PairStatus.DUPLEX
        ][:4]
        sources = [PVOLS[pvols.index(pvol)] if self.pairs.is_fed(pvol) else pvol for pvol in pvols]
        if (
            not chosen
            or any(
                self.pairs.is_disturbed(one) or not reference.is_known(one.svol) for one in chosen
            )
            or not all(self.pairs.takes(name) for name in sources)
        ):
            return
        before = {name: reference.content(name).copy() for name in sources}
        plan = [(sources[number % len(sources)], write) for number, write in enumerate(many)]

        def host() -> None:
            for name, write in plan:
                self.world.systems[name[0]].volume(name[1]).pwrite(write.data, write.offset)

        threads = in_threads([host])
        made = self.world.systems[pvols[0][0]].split_pairs([one.pair_id for one in chosen])
        for thread in threads:
            thread.join()
        assert made is not None
        found = {sources[pvols.index(one.pvol)]: self.world.live(one.svol) for one in chosen}
        count = check_one_point(before, plan, found)
        event(f"one point {'inside' if 0 < count < len(plan) else 'at an end'}")
        for name, write in plan[:count]:
            reference.write(name, write)
        frozen = {one.svol: reference.content(one.svol).copy() for one in chosen}
        self.world.note({one.pair_id: Asked.SPLIT for one in chosen}, {made.generation_id: frozen})
        self.world.observe()
        for name, write in plan[count:]:
            reference.write(name, write)

    @rule(pick=picks, number=places)
    def verify(self, pick: int, number: int) -> None:
        one = self.pairs.pick(pick)
        if one is None or (one.is_remote and not self.world.path.is_up):
            return
        event(f"verify {one.here.status}, remote {one.is_remote}")
        self.world.verify(one, place(number, 1))

    @rule(
        pick=picks,
        direction=st.sampled_from(Direction),
        compare=st.sampled_from(Compare),
        many=st.lists(writes, min_size=1, max_size=5),
    )
    def copy_while_writing(
        self, pick: int, direction: Direction, compare: Compare, many: list[HostWrite]
    ) -> None:
        one = self.pairs.pick_remote(pick)
        forward = direction is Direction.FORWARD
        fits = one.here.status is one.there.status is PairStatus.SPLIT and self.world.path.is_up
        if (
            fits
            and not self.pairs.is_disturbed(one)
            and (not forward or self.pairs.takes(one.pvol))
        ):
            began = copy_while_writing(
                self.world,
                one,
                direction,
                many,
                lambda: self.begin_resync(one, direction, compare),
            )
            event(f"copy while writing {direction} {began}")

    @rule(
        pick=picks,
        number=st.integers(LOWER_PLACES, PLACES - 1),
        count=st.integers(1, 12),
        seed=st.integers(1, 9),
    )
    def repair_while_writing(self, pick: int, number: int, count: int, seed: int) -> None:
        one = self.pairs.pick_remote(pick)
        duplex = one.here.status is one.there.status is PairStatus.DUPLEX
        if (
            duplex
            and self.world.path.is_up
            and not self.pairs.is_disturbed(one)
            and self.pairs.takes(one.pvol)
        ):
            draw = random.Random(seed)
            many = [written(draw.randrange(LOWER_PLACES), 5000, seed) for _ in range(count)]
            event("repair while writing")
            repair_while_writing(self.world, one, place(number, 1), many)

    @rule(
        direction=st.sampled_from(Direction),
        cancels=st.booleans(),
        pick=picks,
        compare=st.sampled_from(Compare),
    )
    def resync(self, direction: Direction, cancels: bool, pick: int, compare: Compare) -> None:
        one = self.pairs.pick(pick)
        if one is None or (one.is_remote and not self.world.path.is_up):
            return
        job = self.begin_resync(one, direction, compare)
        if job is None:
            return
        if cancels:
            job.cancel()
        try:
            job.wait(60)
        except PyrepError:
            assert cancels, "a copy failed that nobody disturbed"

    def begin_resync(
        self, one: ReferencePair, direction: Direction, compare: Compare = Compare.XXH3
    ) -> CopyJob | None:
        before, whole = one.here, self.pairs.is_whole(one)
        free = not one.is_remote and not self.pairs.is_guarded(one.pvol)
        try:
            job = self.pair(one).resync(
                direction=direction, discard=self.loser(one, direction), compare=compare
            )
        except (RefusedError, BusyError, PathLostError):
            forward = direction is Direction.FORWARD
            apart = one.pair_id in self.world.reference.apart
            must = before.status is PairStatus.SPLIT and whole and (forward or free) and not apart
            assert not must, f"{one} could be resynced {direction}"
            return None
        event(f"resync {direction} of {before.status}, remote {one.is_remote}")
        if before.status is not PairStatus.DUPLEX:
            self.world.note({one.pair_id: Asked(direction.value)})
        return job

    def loser(self, one: ReferencePair, direction: Direction) -> str | None:
        """Return the system whose side a remote resync gives up, written to or not."""
        if not one.is_remote:
            return None
        return one.svol[0] if direction is Direction.FORWARD else one.pvol[0]

    @rule(pick=picks)
    def dissolve_and_create_again(self, pick: int) -> None:
        one = self.pairs.pick(pick, PairStatus.DUPLEX, PairStatus.SPLIT)
        if one is None or one.is_remote or not self.pairs.is_whole(one):
            return
        self.pair(one).dissolve()
        self.world.reference.remove_pair(one.pair_id)
        self.world.check()
        self.world.create_local(one.pvol, one.svol)

    # --- workflows -------------------------------------------------------------------------------

    @rule(
        asked=st.sampled_from([PVOLS, PVOLS[:1], PVOLS[1:]]),
        sides=st.sampled_from(BackupSides),
        hold_ack=st.sampled_from(HoldAck),
    )
    def back_up(self, asked: tuple[VolumeName, ...], sides: BackupSides, hold_ack: HoldAck) -> None:
        reference = self.world.reference
        remote = [one for one in reference.pairs.values() if one.is_remote and one.pvol in asked]
        ready = all(one.here.status is PairStatus.DUPLEX for one in remote) and not any(
            self.pairs.is_disturbed(one) for one in remote
        )
        try:
            report = backup(
                self.world.systems["100a"],
                [volume_id for _, volume_id in asked],
                sides=sides,
                hold_ack=hold_ack,
                reuse_last=True,
                hold_max_ms=30_000,
            )
        except (RefusedError, PathLostError):
            assert not ready, "a backup was refused that nothing stood against"
            # An SVOL of another of the volumes may have been made ready by then.
            touched = [one for one in reference.pairs.values() if not one.is_remote]
            self.world.note({one.pair_id: Asked.BACKUP for one in touched})
            return
        event(f"backup at {sides}")
        members: dict[VolumeName, str] = {
            (one.home, member.svol): one.generation_id
            for one in report.generations
            for member in one.members
        }
        by_svol = {one.svol: one for one in reference.pairs.values()}
        for svol, generation_id in members.items():
            pair = by_svol[svol]
            held = {
                name: reference.content(by_svol[name].pvol).copy()
                for name, other in members.items()
                if other == generation_id
            }
            self.world.note({pair.pair_id: Asked.BACKUP}, {generation_id: held})

    @rule(pick=picks, here=system_ids)
    def restore_a_volume(self, pick: int, here: str) -> None:
        """Fig. 6, whatever is pending on whichever side."""
        svols = [one.svol for one in self.pairs.with_generations()]
        if svols and self.world.path.is_up:
            self.restore_from(svols[pick % len(svols)], here)

    def restore_from(self, svol: VolumeName, here: str) -> None:
        reference = self.world.reference
        generation_id = reference.holder(svol)
        assert generation_id is not None
        chosen = next(one for one in reference.pairs.values() if one.svol == svol)
        # Two SVOLs of one volume may hold it; the system takes either.
        catalogue = self.world.systems["100b"].generations
        member = catalogue.member(
            catalogue.get(GenerationId(generation_id)), VolumeId(chosen.pvol[1])
        )
        local = reference.pairs[member.pair_id]
        remote = next(one for one in reference.pairs.values() if one.svol == local.pvol)
        apart = remote.pair_id in self.world.reference.apart
        whole = self.pairs.is_whole(local) and self.pairs.is_whole(remote) and not apart
        content = reference.generations[generation_id][local.svol]
        known_here = {one.generation_id for one in self.world.systems[here].list_generations()}
        lead = here if generation_id in known_here else "100b"
        try:
            restore(self.world.systems[lead], generation_id, local.pvol[1], whole=True)
        except (RefusedError, BusyError):
            assert not whole, "a restore was refused that nothing stood against"
            return
        except WorkflowError:
            assert not whole, "a restore stopped that nothing stood against"
            stopped = list_workflows(self.world.systems["100b"])[-1]
            abandon(self.world.systems["100b"], stopped.workflow_id)
            return
        event(f"restore, remote {remote.here.status} {remote.here.cause}")
        siblings = [one for one in reference.pairs.values() if one.pvol == local.pvol]
        copying = [one for one in siblings if one.here.status is PairStatus.COPY]
        self.world.note({one.pair_id: Asked.SPLIT for one in copying})  # broken off; 640 ends them
        self.world.note({local.pair_id: Asked.REVERSE, remote.pair_id: Asked.RESTORE})
        assert self.world.live(remote.pvol) == content.to_bytes()

    @rule(pick=picks, here=writes, there=writes)
    def restore_a_volume_with_pending_on_both_sides(
        self, pick: int, here: HostWrite, there: HostWrite
    ) -> None:
        reference = self.world.reference
        chosen = [
            (remote, local)
            for local in self.pairs.with_generations()
            for remote in reference.pairs.values()
            if remote.svol == local.pvol
            and remote.here.status is PairStatus.DUPLEX
            and self.pairs.is_whole(remote)
            and self.pairs.is_whole(local)
        ]
        if not chosen:
            return
        remote, local = chosen[pick % len(chosen)]
        self.pair(remote).split()
        self.world.note({remote.pair_id: Asked.SPLIT})
        self.world.check()
        self.world.write(remote.pvol, here)
        self.world.write(remote.svol, there)
        self.world.check()
        self.restore_from(local.svol, "100b")

    # --- generations -----------------------------------------------------------------------------

    def held(self, system_id: str) -> list[Generation]:
        """Return the complete generations that a system holds."""
        system = self.world.systems[system_id]
        known = system.list_generations()
        return [one for one in known if one.home == system_id and one.is_complete]

    @rule(system_id=system_ids, pick=picks, percentage=st.sampled_from([100, 30]))
    def verify_a_generation(self, system_id: str, pick: int, percentage: int) -> None:
        """Whatever was carried over from generation to generation is what is there."""
        known = self.held(system_id)
        if not known:
            return
        kept = self.world.systems[system_id].kept(known[pick % len(known)].generation_id)
        kept.digest()
        result = kept.verify(percentage, seed=pick)
        event(f"verify {percentage} %")
        assert result.is_sound, result

    @rule(system_id=system_ids, keep=st.integers(1, 2), protects=st.booleans(), pick=picks)
    def apply_retention(self, system_id: str, keep: int, protects: bool, pick: int) -> None:
        """What no rule keeps is given up; the newest and what is protected stay."""
        system, before = self.world.systems[system_id], self.held(system_id)
        chosen = before[pick % len(before)].generation_id if protects and before else None
        if chosen is not None:
            system.protect_generation(chosen)
        system.set_policy(retention=RetentionPolicy(keep_last=keep))
        report = system.apply_retention()
        left = {one.generation_id for one in self.held(system_id)}
        event(f"retention gave up {min(len(report.given_up), 2)}")
        assert {one.generation_id for one in before} - left == set(report.given_up)
        assert chosen is None or chosen in left
        sources = {member.source for one in before for member in one.members}
        for source in sources:
            of_source = [one for one in before if source in {each.source for each in one.members}]
            # What a repair has split holds what was wrong, and is no backup; what a copy has, is
            # one, but pushes none out that somebody has asked for.
            backups = [one for one in of_source if one.cause is not GenerationCause.REPAIR]
            asked_for = [one for one in backups if one.cause is not GenerationCause.PROTECT]
            for newest in (*backups[-1:], *asked_for[-1:]):
                assert newest.generation_id in left
        if chosen is not None:
            system.unprotect_generation(chosen)

    # --- fate ------------------------------------------------------------------------------------

    @rule()
    def cut_the_path(self) -> None:
        self.world.cut()

    @rule()
    def restore_the_path(self) -> None:
        self.world.connect()

    @rule(many=st.lists(writes, min_size=1, max_size=3), cuts=st.booleans())
    def write_while_the_path_stalls(self, many: list[HostWrite], cuts: bool) -> None:
        """Writers wait for the stalled peer; if it is lost, it has none of what it didn't take."""
        reference, world = self.world.reference, self.world
        name = PVOLS[0]
        if cuts and self.world.shape.fence_level is FenceLevel.DATA:
            return  # some of them fail, written or not: the simulation's part
        if not world.path.is_up or not self.pairs.takes(name):
            return
        is_shipped = any(
            one.pvol == name and one.is_remote and one.here.status is PairStatus.DUPLEX
            for one in reference.pairs.values()
        )
        stream = world.stream()
        last = stream.info().last if stream else 0
        world.path.stall()
        volume = world.systems[name[0]].volume(name[1])
        threads = in_threads(writers(volume, many))
        if stream and is_shipped:
            wait_until(lambda: stream.info().last >= last + len(many))
        event(f"stalled, shipped {is_shipped}, cut {cuts}")
        if cuts:
            world.cut()
        else:
            world.path.resume()
        for thread in threads:
            thread.join()
        order = in_some_order(reference.content(name), many, world.live(name))
        assert order is not None
        world.observe()  # if it was cut, 105b has none of them
        for write in order:
            reference.write(name, write)

    @rule(system_id=system_ids)
    def close_and_reopen(self, system_id: str) -> None:
        self.world.reopen(system_id)

    @rule(system_id=system_ids, loss=losses)
    def crash_and_reopen(self, system_id: str, loss: PowerLoss) -> None:
        self.world.crash(system_id, loss)

    @rule(system_id=system_ids, closes=st.booleans(), loss=losses)
    def keep_a_copy(self, system_id: str, closes: bool, loss: PowerLoss) -> None:
        if closes:
            self.world.reopen(system_id, keeps=True)
        else:
            self.world.crash(system_id, loss, keeps=True)

    @rule(system_id=system_ids)
    def keep_a_running_copy(self, system_id: str) -> None:
        self.world.keep_running(system_id)

    @rule()
    def let_identifiers_grow_older(self) -> None:
        self.world.age()

    @rule(
        system_id=system_ids,
        changed=st.sampled_from([ChangedBacking.ASSUME_UNCHANGED, ChangedBacking.ALL_PENDING]),
    )
    def put_back(self, system_id: str, changed: ChangedBacking) -> None:
        """An older copy of a system takes its place, with all that it knew."""
        if self.world.put_back(system_id, changed):
            event(f"put back, {changed}")

    @rule(
        pick=picks,
        direction=st.sampled_from(Direction),
        ends=st.sampled_from(["cut", "crash"]),
        loss=losses,
    )
    def disturb_a_copy(self, pick: int, direction: Direction, ends: str, loss: PowerLoss) -> None:
        """A copy is broken off somewhere; what is left to do isn't forgotten."""
        one = self.pairs.pick(pick, PairStatus.SPLIT)
        if one is None or (one.is_remote and not self.world.path.is_up):
            return
        if self.begin_resync(one, direction) is None:
            return
        self.world.observe()
        event(f"disturbed by {ends}: {one.here.status} {one.here.direction}")
        if ends == "cut":
            self.world.cut()
        else:
            self.world.crash((one.pvol if pick % 2 else one.svol)[0], loss)


def _settings() -> settings:
    """Return the soak as it is, or a bounded and repeatable run.

    Without shrinking, which takes minutes here: a failure shows a whole run of rules, at once.
    """
    if settings.get_current_profile_name() == "soak":
        return settings(phases=set(Phase) - {Phase.explain})
    return settings(
        max_examples=35,
        stateful_step_count=30,
        derandomize=True,
        phases={Phase.explicit, Phase.generate},
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


TestMachine = MirrorMachine.TestCase
TestMachine.settings = _settings()
