"""Two systems in one process, small volumes, and the few questions that engine tests ask."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pyrep.engine import Options, Pair, StorageSystem, Volume, connect
from pyrep.errors import PyrepError, TimedOutError
from pyrep.interconnect import LoopPath, PathTiming, Plain, Security
from pyrep.model import Direction, PairStatus, Row
from pyrep.testing import FaultProxy, wait_until

MIB = 1 << 20
KIB = 1 << 10
SIZE = 2 * MIB
CHUNK = 8 * KIB
LONG_S = 60.0


def fill(volume: Volume, seed: int, *, count: int = 12) -> None:
    """Write some ranges with seeded bytes."""
    random_ = random.Random(seed)
    for _ in range(count):
        length = random_.choice([100, 4096, 8192, 30_000])
        offset = random_.randrange(volume.size_bytes - length)
        volume.pwrite(random_.randbytes(length), offset)


def content(volume: Volume) -> bytes:
    """Return all bytes, as the storage holds them, whatever the fences."""
    live = volume._state.volume(volume.volume_id)
    return live.io.pread(volume.size_bytes, 0)


def equal(one: Volume, other: Volume) -> bool:
    """Whether two volumes hold the same bytes."""
    return content(one) == content(other)


def snapshot(system: StorageSystem) -> object:
    """Return what a refused command must not change: table, catalogue, volumes, files."""
    state = system.state
    volumes = tuple(one.volume_id for one in system.volumes())
    files = tuple(sorted(path.name for path in (system.directory / "volumes").iterdir()))
    bitmaps = tuple(sorted(path.name for path in (system.directory / "bitmaps").iterdir()))
    pending = {key: one.link.pending_count() for key, one in state.mirrors.items()}
    return system.table(), system.list_generations(), volumes, files, bitmaps, pending


@contextmanager
def refused(
    kind: type[PyrepError], *systems: StorageSystem, names: str, hint: bool = True
) -> Iterator[None]:
    """Expect a refusal of this very class, that names the thing, with a hint; nothing changes."""
    before = [snapshot(one) for one in systems]
    with pytest.raises(kind) as caught:
        yield
    assert type(caught.value) is kind, repr(caught.value)
    assert names in str(caught.value)
    if hint:
        assert caught.value.hint
    assert [snapshot(one) for one in systems] == before


def bring_home(pair: Pair) -> None:
    """Resync a pair in the direction that its state allows, until it is DUPLEX."""
    why: list[object] = []

    def is_duplex() -> bool:
        try:
            state = pair.status()
            if state.status is PairStatus.DUPLEX:
                return True
            back = state.direction is Direction.REVERSE and not state.target_consistent
            # Both sides were written to: the side that isn't copied from is given up by name.
            discard = None
            if pair.row.is_remote:
                discard = pair.row.pair_id.split(".")[0] if back else pair.row.pair_system_id
            job = pair.resync(
                direction=Direction.REVERSE if back else Direction.FORWARD, discard=discard
            )
            if job is not None:
                job.wait(LONG_S)
        except PyrepError as error:
            why[:] = [error, error.hint, pair.row]
            return False
        return pair.status().status is PairStatus.DUPLEX

    try:
        wait_until(is_duplex, timeout_s=20)
    except TimedOutError as error:
        raise AssertionError(why) from error


def stop_at(monkeypatch: pytest.MonkeyPatch, stop: int, *calls: tuple[type, str]) -> None:
    """Let the `stop`-th call, from 1, of these methods raise InterruptedError instead."""
    count = itertools.count(1)
    for owner, name in calls:

        def stopping(
            *args: object, _original: object = getattr(owner, name), **kwargs: object
        ) -> object:
            if next(count) == stop:
                raise InterruptedError("stopped here")
            assert callable(_original)
            return _original(*args, **kwargs)

        monkeypatch.setattr(owner, name, stopping)


def row_of(system: StorageSystem, pair: Pair) -> Row:
    """Return this system's row of a pair."""
    return system.pair(pair.pair_id).row


@dataclass
class Site:
    """A directory with systems that are opened, crashed and opened again."""

    root: Path
    options: dict[str, Options] = field(default_factory=dict)
    systems: dict[str, StorageSystem] = field(default_factory=dict)
    paths: list[LoopPath] = field(default_factory=list)

    def make(self, system_id: str, *volumes: str, size: int = SIZE) -> StorageSystem:
        """Make a system with volumes."""
        system = StorageSystem.create(
            self.root / system_id, system_id, options=self.options.get(system_id)
        )
        self.systems[system_id] = system
        for volume in volumes:
            system.create_volume(volume, size)
        return system

    def reopen(self, system_id: str, *, crash: bool = False) -> StorageSystem:
        """End a system, cleanly or as a crash would, and open it again."""
        system = self.systems[system_id]
        if crash:
            system.abort()
        else:
            system.close()
        return self.open(system_id)

    def open(self, system_id: str) -> StorageSystem:
        """Open a system."""
        opened = StorageSystem.open(self.root / system_id, options=self.options.get(system_id))
        self.systems[system_id] = opened
        return opened

    def connect(self, one: str, other: str) -> LoopPath:
        """Connect two systems."""
        path = connect(self.systems[one], self.systems[other])
        self.paths.append(path)
        return path

    def volume(self, system_id: str, volume_id: str) -> Volume:
        """Return a volume of a system as it is open now."""
        return self.systems[system_id].volume(volume_id)

    def close(self) -> None:
        """Close everything."""
        for path in self.paths:
            path.resume()
        for system in self.systems.values():
            system.close()


class Rig(Site):
    """100a with 105a and 106a, 100b with 105b, 106b, 107b (Fig. 1), connected."""

    path: LoopPath

    def build(self, *, size: int = SIZE) -> Rig:
        """Make everything."""
        self.make("100a", "105a", "106a", size=size)
        self.make("100b", "105b", "106b", "107b", size=size)
        self.path = self.connect("100a", "100b")
        return self

    @property
    def a(self) -> StorageSystem:
        """The primary system."""
        return self.systems["100a"]

    @property
    def b(self) -> StorageSystem:
        """The secondary system."""
        return self.systems["100b"]

    @property
    def pvol(self) -> Volume:
        """105a."""
        return self.a.volume("105a")

    @property
    def spvol(self) -> Volume:
        """105b."""
        return self.b.volume("105b")

    @property
    def svol(self) -> Volume:
        """106b."""
        return self.b.volume("106b")

    def remote(self, **options: object) -> Pair:
        """Make the remote mirror 130, in DUPLEX, with some content."""
        fill(self.pvol, 1)
        pair = self.a.create_remote_pair("105a", "100b", "105b", **options)  # type: ignore[arg-type]
        pair.wait(timeout_s=LONG_S)
        return pair

    def local(self, svol: str = "106b") -> Pair:
        """Make a local mirror 140b, in DUPLEX."""
        pair = self.b.create_local_pair("105b", svol)
        pair.wait(timeout_s=LONG_S)
        return pair

    def reconnect(self) -> LoopPath:
        """Connect the systems as they are open now."""
        self.path = self.connect("100a", "100b")
        return self.path

    def dial_through_proxy(
        self, timing: PathTiming, *, here: Security | None = None, there: Security | None = None
    ) -> FaultProxy:
        """Let 100a dial 100b through a proxy, which is the caller's to close; wait for the path."""
        listener = self.b.listen("127.0.0.1:0", security=there or Plain(), timing=timing)
        proxy = FaultProxy(str(listener.address))
        self.a.dial("100b", proxy.address, security=here or Plain(), timing=timing)
        wait_until(lambda: self.a.endpoint.is_connected(self.b.system_id))
        return proxy

    def both(self, pair: Pair, status: PairStatus) -> None:
        """Wait until both sides' rows have a status."""
        for system in (self.a, self.b):
            wait_until(lambda system=system: row_of(system, pair).status is status)  # type: ignore[misc]
