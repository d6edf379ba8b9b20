"""Two real systems beside the reference: 100a with two PVOLs of one group, 100b with mirrors."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyrep.workflows  # noqa: F401  # systems that are opened answer the workflows' commands
from machine.kept import KeptCopy
from pyrep._core import Stream
from pyrep.engine import ChangedBacking, Options, StorageSystem, connect
from pyrep.model import (
    AckPoint,
    Congestion,
    FenceLevel,
    GenerationState,
    GroupId,
    PairStatus,
    Row,
    SystemId,
    VolumeId,
)
from pyrep.testing import (
    Asked,
    Content,
    Facts,
    HostWrite,
    LoopPath,
    Observed,
    PowerLoss,
    Reference,
    ReferencePair,
    SimulatedPath,
    VolatileStorage,
    VolumeName,
    check_changes,
    check_covered,
    check_duplex,
    check_durable_first,
    check_frozen,
    check_no_early_clear,
    check_one_writer,
    check_remote_stays,
    connect_simulated,
    wait_quiet,
    wait_until,
)

PVOLS = ("100a", "105a"), ("100a", "205a")
SPVOLS = ("100b", "105b"), ("100b", "205b")
LOCAL = {
    PVOLS[0]: ("106a",),
    PVOLS[1]: ("206a",),
    SPVOLS[0]: ("106b", "107b"),
    SPVOLS[1]: ("206b", "207b"),
}
QUEUE_BYTES = 4 << 20
REGION_BYTES = 1 << 20
SIZE_BYTES = 6 * REGION_BYTES + 5000  # the last chunk and region are partial
_WINDOW_BYTES = 144 << 10
PLACES = SIZE_BYTES // REGION_BYTES * _WINDOW_BYTES
"""How many offsets `place` knows."""
_LATENCIES_S = ((0.0, 0.005), (0.0, 0.2), (0.5, 4.0))
"""How long messages are on their way: next door, far away, and of the order of the silence after
which a path counts as lost. A lane's messages keep their order; what the lanes of a path carry
comes in any."""
_MEMORY = Path("/dev/shm")  # noqa: S108  # losing power is the double's part; here fsync is free
_HELD = {GenerationState.COMPLETE, GenerationState.UNCONFIRMED}


def place(number: int, length: int) -> int:
    """Return the offset of a host's write, up to 140 KiB long.

    Writes are about where one region ends and the next begins. All else of a volume is a hole: it
    has more regions than may be hot, and costs its checkers no more than a small one would.

    Args:
        number: which of the `PLACES`.
        length: of the write, which fits in.
    """
    window, inside = divmod(number, _WINDOW_BYTES)
    begin = min((window + 1) * REGION_BYTES - _WINDOW_BYTES // 2, SIZE_BYTES - _WINDOW_BYTES)
    return begin + min(inside, _WINDOW_BYTES - length)


class _Options(Options):
    """As few hot regions as the core takes; users get no less than 16."""

    def __post_init__(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What differs between worlds."""

    size_bytes: int = (1 << 20) + 5000
    remote_chunk_bytes: int = 8192
    local_chunk_bytes: int = 8192
    ack: AckPoint = AckPoint.RECEIVED
    second_ack: AckPoint | None = None
    """Of the group's second pair; None: the same."""
    congestion: Congestion = Congestion.BLOCK
    fence_level: FenceLevel = FenceLevel.NEVER
    hot_regions: int = 16
    """Of 1 MiB. A world's volumes of `SIZE_BYTES` have 7."""
    volatile: bool = False
    """Whether a crash loses what wasn't flushed, of volumes, bitmaps and logs."""
    simulated: int | None = None
    """The seed of a simulated path; None: the one in process."""


class World:
    """The systems, the path between them, and what they should hold."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        fast = _MEMORY if _MEMORY.is_dir() else None
        self._temporary = tempfile.TemporaryDirectory(dir=fast, prefix="pyrep-")
        self.directory = Path(self._temporary.name)
        self.reference = Reference()
        self.storage = {one: VolatileStorage() for one in ("100a", "100b")}
        self.systems = {
            one: StorageSystem.create(self.directory / one, one, options=self._options(one))
            for one in self.storage
        }
        for system in self.systems.values():
            _take_in_hand(system)
        self._path: LoopPath | SimulatedPath | None = None
        self._connected: tuple[StorageSystem, ...] = ()
        self._crashed: set[str] = set()
        self._path_was_lost = False
        self._asked: dict[str, Asked] = {}
        self._frozen: dict[str, Mapping[VolumeName, Content]] = {}
        self._failed: set[VolumeName] = set()
        self.kept: dict[str, KeptCopy] = {}
        self._passed_s = 0.0
        self._make()

    def _options(self, system_id: str, changed: ChangedBacking = ChangedBacking.REFUSE) -> Options:
        options = _Options(
            ack_timeout_s=60.0,
            queue_bytes=QUEUE_BYTES,
            changed_backing=changed,
            hot_regions=self.shape.hot_regions,
            region_bytes=REGION_BYTES,
        )
        if not self.shape.volatile:
            return options
        storage = self.storage[system_id]
        return replace(
            options,
            storage=storage,
            bitmap_storage=storage.metadata,
            log_storage=storage.metadata,
        )

    def _make(self) -> None:
        shape = self.shape
        for pvol, svols in LOCAL.items():
            for system_id, volume_id in (pvol, *((pvol[0], svol) for svol in svols)):
                self.systems[system_id].create_volume(volume_id, shape.size_bytes)
                self.reference.add_volume((system_id, volume_id), shape.size_bytes)
        self.connect()
        primary = self.systems["100a"]
        acks = (shape.ack, shape.second_ack or shape.ack)
        for pvol, svol, ack in zip(PVOLS, SPVOLS, acks, strict=True):
            made = primary.create_remote_pair(
                pvol[1],
                svol[0],
                svol[1],
                group="g",
                ack=ack,
                congestion=shape.congestion,
                fence_level=shape.fence_level,
                chunk_bytes=shape.remote_chunk_bytes,
            )
            self.reference.add_pair(
                ReferencePair(
                    pair_id=made.pair_id,
                    pvol=pvol,
                    svol=svol,
                    ack=ack,
                    fence_level=shape.fence_level,
                )
            )
        wait_quiet(*self.open_systems())
        for source, svols in LOCAL.items():
            for volume_id in svols:
                self.create_local(source, (source[0], volume_id))
        self.check()

    def create_local(self, pvol: VolumeName, svol: VolumeName) -> None:
        """Make a local pair; its copy runs."""
        made = self.systems[pvol[0]].create_local_pair(
            pvol[1], svol[1], chunk_bytes=self.shape.local_chunk_bytes
        )
        self.reference.add_pair(ReferencePair(pair_id=made.pair_id, pvol=pvol, svol=svol))

    # --- what happens ----------------------------------------------------------------------------

    @property
    def path(self) -> LoopPath | SimulatedPath:
        """The path, up or down."""
        assert self._path is not None
        return self._path

    @property
    def simulated(self) -> SimulatedPath:
        """The path, which is simulated."""
        assert isinstance(self._path, SimulatedPath)
        return self._path

    def stream(self) -> Stream | None:
        """Return the stream of the group from 100a, if there ever was one."""
        state = self.systems["100a"].state
        peer = state.peers.get(SystemId("100b"))
        outlet = peer.known_outlet(GroupId("g")) if peer else None
        return outlet.stream if outlet else None

    def open_systems(self) -> list[StorageSystem]:
        """Return the systems that are open."""
        return [one for one in self.systems.values() if not one.state.closing]

    def connect(self) -> None:
        """Bring the path up; both systems are open."""
        if self.shape.simulated is not None and self._path is None:
            seed = self.shape.simulated
            latency_s = random.Random(f"latency {seed}").choice(_LATENCIES_S)
            self._path = connect_simulated(*self.systems.values(), seed=seed, latency_s=latency_s)
        elif isinstance(self._path, SimulatedPath):
            self._path.connect()
        elif self._path is None or any(one.state.closing for one in self._connected):
            self._connected = tuple(self.systems.values())
            self._path = connect(*self._connected)
        else:
            self._path.connect()

    def cut(self) -> None:
        """Lose the path."""
        self._path_was_lost = True
        self.path.cut()

    def note(
        self,
        asked: Mapping[str, Asked] | None = None,
        frozen: Mapping[str, Mapping[VolumeName, Content]] | None = None,
        failed: Iterable[VolumeName] = (),
    ) -> None:
        """Say what was asked of the systems, for the next check."""
        self._asked.update(asked or {})
        self._frozen.update(frozen or {})
        self._failed.update(failed)

    def write(self, name: VolumeName, write: HostWrite) -> None:
        """Write at a volume and in the reference."""
        self.systems[name[0]].volume(name[1]).pwrite(write.data, write.offset)
        self.reference.write(name, write)

    def reopen(self, system_id: str, *, keeps: bool = False) -> None:
        """Close a system cleanly and open it again; the path stays down.

        Args:
            system_id: the system.
            keeps: whether a copy of it is made in between, for `put_back`.
        """
        self._path_was_lost = True
        rows = self._remote_rows(system_id)
        self.systems[system_id].close()
        for name in self._names_of(system_id):
            found = self._stored(name)
            if self.reference.is_known(name):
                assert found == self.reference.content(name).to_bytes(), f"{name} at a clean close"
                self.reference.flush(name)
        if keeps:
            self._keep(system_id, rows, unclean=False)
        self._open(system_id)

    def crash(self, system_id: str, loss: PowerLoss, *, keeps: bool = False) -> None:
        """Let a system lose power and open it again; the path stays down. `keeps`: see `reopen`."""
        self._path_was_lost = True
        self._crashed.add(system_id)
        self.storage[system_id].loss = loss
        rows = self._remote_rows(system_id)
        self.systems[system_id].abort()
        for name in self._names_of(system_id):
            found = self._stored(name)
            if not self.reference.is_known(name):
                continue
            if not self.shape.volatile or self._is_durable(name):
                assert found == self.reference.content(name).to_bytes(), f"{name} after a crash"
            self.reference.lose_power(name, found)
        if keeps:
            self._keep(system_id, rows, unclean=True)
        self._open(system_id)

    def _remote_rows(self, system_id: str) -> dict[str, Row]:
        return {str(row.pair_id): row for row in self.systems[system_id].table() if row.is_remote}

    def _keep(self, system_id: str, rows: dict[str, Row], *, unclean: bool) -> None:
        said, directory = self.reference.keep(system_id), self.directory / system_id
        self.kept[system_id] = KeptCopy.of(directory, said, unclean=unclean, young=rows)

    def keep_running(self, system_id: str) -> None:
        """Copy a system's directory as it is now, while it runs and nobody writes."""
        self.settle()
        self.observe()
        self._keep(system_id, self._remote_rows(system_id), unclean=True)

    def age(self) -> set[str]:
        """Let data identifiers grow older; return of which pairs they did, at both sides."""
        primary = self.systems["100a"]
        if not self.path.is_up:
            return set()
        aged: set[str] = set(primary.remote_pairs.ageing.age(SystemId("100b"), at_once=True))
        for kept in self.kept.values():
            for pair_id in aged:
                kept.young.pop(pair_id, None)
        return aged

    def is_young(self, system_id: str) -> bool:
        """Whether the copy of a system isn't told from it, if it is put back now."""
        other = self.systems["100b" if system_id == "100a" else "100a"]
        rows = [row for row in other.table() if row.is_remote]
        return not all(self.kept[system_id].is_told(row) for row in rows)

    def put_back(self, system_id: str, changed: ChangedBacking) -> bool:
        """Let a system be lost, and put the copy of it that was kept in its place.

        The path stays down. From here on its remote pairs may differ where no bit says so: until
        they are DUPLEX again it counts that nobody believes their bits.

        Returns:
            Whether there was a copy.
        """
        kept = self.kept.get(system_id)
        if kept is None or self.is_young(system_id):
            return False
        self._path_was_lost = True
        self.cut()
        self.settle()
        self.observe()
        self.systems[system_id].abort()
        kept.put_into(self.directory / system_id)
        self._crashed.add(system_id)
        names = self._names_of(system_id)
        self.reference.put_back(kept.said, {name: self._stored(name) for name in names})
        self._open(system_id, changed)
        return True

    def _is_durable(self, name: VolumeName) -> bool:
        """Whether everything acknowledged was durable there: the SPVOL of a pair in that mode."""
        pairs = [one for one in self.reference.pairs.values() if one.svol == name]
        return any(
            one.is_remote and one.ack is AckPoint.DURABLE and one.here.status is PairStatus.DUPLEX
            for one in pairs
        )

    def _open(self, system_id: str, changed: ChangedBacking = ChangedBacking.REFUSE) -> None:
        options = self._options(system_id, changed)
        opened = StorageSystem.open(self.directory / system_id, options=options)
        _take_in_hand(opened)
        self.systems[system_id] = opened
        if isinstance(self._path, SimulatedPath):
            self._path.replace(opened.endpoint)
            opened.add_path(self._path.end_of(system_id))

    def _names_of(self, system_id: str) -> list[VolumeName]:
        return [name for name in self.reference.names() if name[0] == system_id]

    def _stored(self, name: VolumeName) -> bytes:
        return (self.directory / name[0] / "volumes" / f"{name[1]}.img").read_bytes()

    def verify(self, pair: ReferencePair, planted: int) -> None:
        """Verify a pair in DUPLEX or SPLIT, nobody writing: it is equal; then plant a difference.

        It is flushed away again, or a power loss could bring it back.
        """
        if pair.here.status not in {PairStatus.DUPLEX, PairStatus.SPLIT}:
            return
        if pair.pair_id in self.reference.apart:
            return  # it differs where no bit says so, until somebody has chosen
        verified = self.systems[pair.pvol[0]].pair(pair.pair_id)
        found = verified.verify()
        assert found.is_equal, found
        assert not found.restless, found
        if pair.here.status is not PairStatus.DUPLEX:
            return
        system_id, volume_id = pair.svol
        io = self.systems[system_id].state.volume(VolumeId(volume_id)).io
        (byte,) = io.pread(1, planted)
        io.pwrite(bytes([byte ^ 1]), planted)
        found = verified.verify()
        io.pwrite(bytes([byte]), planted)
        io.flush()
        chunk_bytes = verified.row.chunk_bytes
        first = planted // chunk_bytes * chunk_bytes
        assert [offset for offset, _ in found.differing] == [first], found

    # --- what is so ------------------------------------------------------------------------------

    def live(self, name: VolumeName) -> bytes:
        """Return what a volume of an open system holds, fences or not."""
        io = self.systems[name[0]].state.live[name[1]].io  # type: ignore[index]
        return io.pread(io.size_bytes, 0)

    def observed(self) -> Observed:
        """Return what the systems say."""
        sides = {}
        for pair in self.reference.pairs.values():
            here, there = (
                self.systems[name[0]].state.mirrors[pair.pair_id, name[1]].row  # type: ignore[index]
                for name in (pair.pvol, pair.svol)
            )
            sides[pair.pair_id] = (_facts(here), _facts(there))
        generations: dict[str, list[VolumeName]] = {
            one.generation_id: [(system.system_id, member.svol) for member in one.members]
            for system in self.open_systems()
            for one in system.list_generations()
            if one.home == system.system_id and one.state in _HELD
        }
        return Observed(sides=sides, generations=generations)

    def observe(self, *, congested: bool = False) -> None:
        """Let the reference take over what the systems say at this moment."""
        for system in self.open_systems():
            for pair in system.pairs()[:1]:
                pair.status()  # notices what broke, of whatever pair
        self.reference.observe(
            self.observed(),
            asked=self._asked,
            crashed=self._crashed,
            path_was_lost=self._path_was_lost,
            congested=congested,
            device_failed=self._failed,
            frozen=self._frozen,
        )
        self._frozen.clear()

    def drain(self) -> None:
        """Wait until what was sent has arrived, or was lost with the path."""

        def is_through() -> bool:
            stream = self.stream()
            info = stream.info() if stream is not None else None
            return info is None or not info.open or info.received >= info.last

        wait_until(is_through)

    def settle_mirrors(self, system_id: str) -> None:
        """Let what a system has sent to its local mirrors be made durable there, and rows saved."""
        for _ in range(3):  # one to see, one for each epoch
            self.pass_time(3600.0, system_id)

    def pass_time(self, seconds: float, *system_ids: str) -> None:
        """Let time pass, beside that of a simulated path, and systems settle what is due by then.

        Args:
            seconds: how long.
            system_ids: which systems look; all that are open, if none is named.
        """
        self._passed_s += seconds
        for system in self.open_systems():
            if not system_ids or system.system_id in system_ids:
                settling = system._watch.settling
                settling.clock = self._now_s
                settling.look()

    def _now_s(self) -> float:
        simulated = self._path if isinstance(self._path, SimulatedPath) else None
        return self._passed_s + (simulated.clock.now_s if simulated else 0.0)

    def forget_asked(self) -> None:
        """What was asked of the systems up to now has been observed."""
        self._asked.clear()

    def settle(self) -> None:
        """Wait until nothing is left that the systems do by themselves."""
        systems = self.open_systems()
        before: object = None
        while before != (before := [one.table() for one in systems]):
            wait_quiet(*systems)
            self.drain()
            for system in systems:
                system._watch.look()
                wait_quiet(*systems)

    def check(self) -> None:
        """Wait until all is quiet; compare with the reference; check every invariant."""
        systems = self.open_systems()
        self.settle()
        self.observe()
        self._asked.clear()
        self._crashed.clear()
        self._failed.clear()
        self._path_was_lost = not self.path.is_up
        for name in self.reference.names():
            if self.reference.is_known(name):
                io = self.systems[name[0]].state.volume(VolumeId(name[1])).io
                wrong = list(self.reference.content(name).differing_in(io))
                assert not wrong, f"{':'.join(name)} isn't as it should be in 4 KiB blocks {wrong}"
        self._check_resumed()
        check_covered(*systems, put_back=self.reference.apart)
        check_duplex(*systems)
        check_durable_first(*systems)
        check_no_early_clear(*systems, put_back=self.reference.apart)
        check_one_writer(*systems, put_back=self.reference.apart)
        check_frozen(self.reference.generations, *systems)
        check_changes(*systems)
        for system in systems:
            check_remote_stays(system.list_generations(), *systems)

    def _check_resumed(self) -> None:
        """What goes on by itself has done so, as far as the path is up."""
        for pair in self.reference.pairs.values():
            resumes = pair.here.cause is not None and pair.here.cause.resumes_by_itself
            if pair.is_remote and not self.path.is_up:
                continue
            assert pair.here.status is pair.there.status, pair
            assert not resumes or self._is_held_up(pair), f"{pair} didn't resume"

    def _is_held_up(self, pair: ReferencePair) -> bool:
        """Whether a copy that was broken off, which somebody has to end, is in the way."""
        mine = {pair.pvol, pair.svol}
        others = [one for one in self.reference.pairs.values() if one.pair_id != pair.pair_id]
        return not self.reference.is_known(pair.pvol) or any(
            mine & {one.pvol, one.svol} and one.here.status is PairStatus.COPY for one in others
        )

    def close(self) -> None:
        """End everything."""
        for system in self.systems.values():
            with suppress(Exception):
                system.abort()
        self._temporary.cleanup()


def _take_in_hand(system: StorageSystem) -> None:
    """Let its watch look when it is told alone, or a run couldn't be repeated.

    What was refused is tried at each look: hours pass between two of them.
    """
    system._watch.close()
    hours = itertools.count(0.0, 3600.0)
    for one in (system._remote.congestion, system._remote.resumes):
        one.backoff.clock = hours.__next__


def _facts(row: Row) -> Facts:
    return Facts(
        status=row.status,
        cause=row.cause,
        direction=row.direction,
        consistent=row.target_consistent,
    )
