"""Every command, stopped before each of its commits as a crash would, on either system."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyrep.engine import CopyJob, Pair, StorageSystem
from pyrep.errors import PyrepError
from pyrep.meta import Database
from pyrep.model import Direction, Generation, PairStatus, SplitCause
from pyrep.testing import wait_until
from rig import LONG_S, Rig, bring_home, content, equal, fill

_SOON_S = 0.3
"""A copy that the crash has ended would be waited for in vain."""


class _Crash(BaseException):
    """The machine stops here."""


@contextmanager
def _crash_before(commit: int, system: StorageSystem) -> Iterator[None]:
    """Stop before the n-th change of one system's tables; later ones don't happen either."""
    database = system.state.db
    original = Database.transaction
    count = itertools.count(1)

    @contextmanager
    def transaction(self: Database) -> Iterator[None]:
        if self is database and not self._depth and next(count) >= commit:
            raise _Crash
        with original(self):
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "transaction", transaction)
        yield


@contextmanager
def _close_at(commit: int, system: StorageSystem) -> Iterator[None]:
    """Let another thread close one system when the n-th change of its tables begins."""
    database = system.state.db
    original = Database.transaction
    count = itertools.count(1)
    closer = threading.Thread(target=system.close, name="close")

    @contextmanager
    def transaction(self: Database) -> Iterator[None]:
        if self is database and not self._depth and next(count) == commit:
            closer.start()
        with original(self):
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "transaction", transaction)
        yield
    if closer.ident is None:
        system.close()
    else:
        closer.join(LONG_S)
        assert not closer.is_alive(), "the close waits for ever"


def _local(rig: Rig) -> Pair:
    return next(pair for pair in rig.b.pairs() if not pair.row.is_remote)


def _remote(rig: Rig) -> Pair:
    return next(pair for pair in rig.a.pairs() if pair.row.is_remote)


def _nothing(_: Rig) -> None:
    pass


def _with_local(rig: Rig) -> None:
    rig.local()


def _with_split_local(rig: Rig) -> None:
    rig.local().split()
    fill(rig.spvol, 5)


def _with_siblings(rig: Rig) -> None:
    rig.local().split()
    rig.local("107b")
    fill(rig.spvol, 5)


def _with_remote(rig: Rig) -> None:
    rig.remote()
    rig.local()


def _with_split_remote(rig: Rig) -> None:
    rig.remote()
    rig.local()
    _remote(rig).split()
    fill(rig.pvol, 5)
    fill(rig.spvol, 6)


def _to_its_end(job: CopyJob | None) -> None:
    if job is not None:
        job.wait(LONG_S)


def _create_local(rig: Rig) -> None:
    rig.b.create_local_pair("105b", "106b").wait(timeout_s=_SOON_S)


def _create_remote(rig: Rig) -> None:
    rig.a.create_remote_pair("105a", "100b", "105b").wait(timeout_s=_SOON_S)


def _split_local(rig: Rig) -> object:
    return _local(rig).split()


def _resync_local(rig: Rig) -> None:
    _to_its_end(_local(rig).resync())


def _reverse_local(rig: Rig) -> None:
    _to_its_end(_local(rig).resync(direction=Direction.REVERSE))


def _dissolve_local(rig: Rig) -> None:
    _local(rig).dissolve()


def _split_remote(rig: Rig) -> object:
    return _remote(rig).split()


def _resync_remote(rig: Rig) -> None:
    _to_its_end(_remote(rig).resync(discard="100b"))


def _reverse_remote(rig: Rig) -> None:
    _to_its_end(_remote(rig).resync(direction=Direction.REVERSE, discard="100a"))


def _dissolve_remote(rig: Rig) -> None:
    _remote(rig).dissolve()


_COMMANDS: list[tuple[Callable[[Rig], object], Callable[[Rig], object], str]] = [
    (_nothing, _create_local, "100b"),
    (_with_local, _split_local, "100b"),
    (_with_split_local, _resync_local, "100b"),
    (_with_split_local, _reverse_local, "100b"),
    (_with_siblings, _reverse_local, "100b"),
    (_with_split_local, _dissolve_local, "100b"),
    (_nothing, _create_remote, "100a"),
    (_nothing, _create_remote, "100b"),
    (_with_remote, _split_remote, "100a"),
    (_with_remote, _split_remote, "100b"),
    (_with_split_remote, _resync_remote, "100a"),
    (_with_split_remote, _resync_remote, "100b"),
    (_with_split_remote, _reverse_remote, "100a"),
    (_with_split_remote, _reverse_remote, "100b"),
    (_with_remote, _dissolve_remote, "100a"),
    (_with_remote, _dissolve_remote, "100b"),
]


_of_each_command = pytest.mark.parametrize(
    ("prepare", "command", "who"),
    [
        pytest.param(*one, id=f"{one[1].__name__[1:]}-{one[2]}-{index}")
        for index, one in enumerate(_COMMANDS)
    ],
)


@pytest.mark.parametrize("commit", range(1, 7))
@_of_each_command
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_crash_before_any_commit_of_a_command_leaves_what_can_be_finished(
    tmp_path: Path,
    prepare: Callable[[Rig], object],
    command: Callable[[Rig], object],
    who: str,
    commit: int,
) -> None:
    rig = Rig(tmp_path).build()
    try:
        fill(rig.pvol, 1)
        fill(rig.spvol, 2)
        prepare(rig)
        held = _held(rig)
        system = rig.systems[who]
        with _crash_before(commit, system):
            with contextlib.suppress(_Crash, PyrepError):
                command(rig)
            system.abort()
        rig.path.cut()
        rig.open(who)
        # What was complete before and nobody gave up is as it was.
        for generation, svol, was in held:
            if rig.b.generation(generation.generation_id).is_complete:
                assert content(rig.b.volume(svol)) == was
        rig.reconnect()
        _finish(rig)
    finally:
        rig.close()


@pytest.mark.parametrize("commit", [1, 3])
@_of_each_command
def test_a_close_amid_a_command_ends_it_with_an_error_or_lets_it_finish(
    tmp_path: Path,
    prepare: Callable[[Rig], object],
    command: Callable[[Rig], object],
    who: str,
    commit: int,
) -> None:
    rig = Rig(tmp_path).build()
    try:
        fill(rig.pvol, 1)
        fill(rig.spvol, 2)
        prepare(rig)
        with _close_at(commit, rig.systems[who]), contextlib.suppress(PyrepError):
            command(rig)
        rig.path.cut()
        rig.open(who)
        rig.reconnect()
        _finish(rig)
    finally:
        rig.close()


def _held(rig: Rig) -> list[tuple[Generation, str, bytes]]:
    return [
        (one, member.svol, content(rig.b.volume(member.svol)))
        for one in rig.b.list_generations()
        if one.is_complete
        for member in one.members
    ]


def _finish(rig: Rig) -> None:
    """Bring every pair to an end that its users could bring it to, and compare."""
    wait_until(
        lambda: {pair.pair_id for pair in _remotes(rig.a)} == _ids_at_b(rig) or _unknown(rig)
    )
    for pair in _remotes(rig.a):
        if _unknown(rig):
            pair.dissolve()
        else:
            bring_home(pair)
            wait_until(lambda: _remotes(rig.b)[0].row.status is PairStatus.DUPLEX)
            assert equal(rig.pvol, rig.spvol)
    assert _agree(rig)
    for pair in rig.b.pairs():
        if not pair.row.is_remote:
            bring_home(pair)
            assert equal(rig.spvol, rig.b.volume(pair.row.mirror_volume_id))


def _remotes(system: StorageSystem) -> list[Pair]:
    return [pair for pair in system.pairs() if pair.row.is_remote]


def _ids_at_b(rig: Rig) -> set[str]:
    return {pair.pair_id for pair in _remotes(rig.b)}


def _agree(rig: Rig) -> bool:
    return {pair.pair_id for pair in _remotes(rig.a)} == _ids_at_b(rig)


def _unknown(rig: Rig) -> bool:
    """Whether the primary has found out that the secondary doesn't know its pair."""
    return (
        bool(_remotes(rig.a))
        and not _ids_at_b(rig)
        and all(pair.row.cause is SplitCause.REQUESTED for pair in _remotes(rig.a))
    )
