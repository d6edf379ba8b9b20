"""A third system, known and let in, that asks for what isn't its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pyrep.engine import StorageSystem
from pyrep.engine.outlet import stream_id_of
from pyrep.engine.peer import Peer
from pyrep.errors import PyrepError
from pyrep.interconnect import messages
from pyrep.interconnect.messages import (
    AbandonPair,
    AgedPairs,
    AgePairs,
    BeginForward,
    BeginReverse,
    BindChannel,
    Call,
    CreatePair,
    Done,
    FindData,
    FinishPair,
    KnownPairs,
    OpenStream,
    PeerFailed,
    Pending,
    ReadDigests,
    ReadPair,
    RemovePair,
    ReverseEnd,
    ReverseProgress,
    ReverseRun,
    SplitPair,
)
from pyrep.model import GroupId, SystemId, WorkflowId
from rig import SIZE, Rig, content, snapshot

HELD = WorkflowId("w-of-100a")
PAIR = "100a.1"
STREAM = stream_id_of(SystemId("100a"), GroupId(PAIR))

COMMANDS = [
    OpenStream(stream_id=STREAM, attempt=2**63, next_number=1),
    BindChannel(stream_id=STREAM, channel=1, pair_id=PAIR),
    CreatePair(
        pair_id=PAIR,
        pvol="105c",
        svol="105b",
        size_bytes=SIZE,
        chunk_bytes=8192,
        group_id=PAIR,
        ack="received",
        current=1,
    ),
    RemovePair(pair_id=PAIR),
    KnownPairs(pair_ids=[]),
    FinishPair(pair_id=PAIR, current=1),
    SplitPair(pair_id=PAIR, cause="requested"),
    ReverseRun(pair_id=PAIR),
    ReverseEnd(pair_id=PAIR),
    AbandonPair(pair_id=PAIR),
    ReadPair(pair_id=PAIR),
    ReadDigests(pair_id=PAIR, kind="xxh3", group_bytes=8192, runs=b""),
    FindData(pair_id=PAIR, first=0, count=1),
    Pending(pair_id=PAIR, direction="forward", forced=True),
    BeginForward(pair_id=PAIR, pending_count=1, current=1, base=0, seen=0),
    BeginReverse(pair_id=PAIR, pending=b"", common=1, seen=0, forced=True),
    ReverseProgress(pair_id=PAIR, cancel=True),
    AgePairs(pair_ids=[PAIR], points=[1], ages=[1]),
]

_BODY = {
    "workflow": HELD,
    "pair": PAIR,
    "pairs": [PAIR],
    "volume": "105b",
    "kind": "restore",
    "state": "done",
    "label": "",
    "reuse_last": False,
    "attempt": "a",
    "points": [],
    "limit_s": 1.0,
    "hold_ms": 1.0,
    "request": {"volumes": ["105b"], "generation": "g1"},
}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path).build()
    made.remote()
    made.local()
    made.make("100c", "105c")
    made.connect("100c", "100b")
    made.b.state.journal.acquire(HELD, [made.b.state.root_of(made.spvol.volume_id)])
    yield made
    made.close()


def foreign(rig: Rig) -> Peer:
    return rig.systems["100c"].state.peer(rig.b.system_id)


def everything(system: StorageSystem) -> object:
    """Return what a foreign command must not change."""
    volumes = tuple(content(one) for one in system.volumes())
    return snapshot(system), volumes, system.state.journal.leased(HELD)


def ask(peer: Peer, message: messages.Message) -> messages.Answer:
    return messages.decode_answer(peer.connection().request(messages.encode(message)))


def test_every_command_stands_in_this_test() -> None:
    tested = {type(one) for one in COMMANDS} | {Call}
    assert tested == set(messages.Message.__args__)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.__struct_config__.tag)
def test_a_command_on_anothers_pair_is_refused_or_has_no_effect(
    rig: Rig, command: messages.Message
) -> None:
    before = everything(rig.b)
    answer = ask(foreign(rig), command)
    if isinstance(command, AgePairs):
        assert answer == AgedPairs(pair_ids=[])
    else:
        harmless = isinstance(command, RemovePair | KnownPairs)
        assert isinstance(answer, Done if harmless else PeerFailed), answer
    assert everything(rig.b) == before
    rig.pvol.pwrite(b"x" * 5000, 100)  # the pair that it is of goes on
    rig.pvol.flush()
    assert content(rig.pvol) == content(rig.spvol)


def test_no_verb_reaches_anothers_volumes_or_workflow(rig: Rig) -> None:
    before = everything(rig.b)
    for verb in rig.b.endpoint.calls:
        for missing in (None, *_BODY):
            body = {name: value for name, value in _BODY.items() if name != missing}
            with contextlib.suppress(PyrepError, msgspec.MsgspecError, KeyError, TypeError):
                answer = ask(foreign(rig), Call(verb=verb, body=body))
                assert isinstance(answer, PeerFailed), (verb, missing)
            assert everything(rig.b) == before, (verb, missing)


def test_a_workflow_led_elsewhere_is_ended_by_nobody_but_its_leader(rig: Rig) -> None:
    """Its id is no secret: a released lease would let others at the volumes in mid-restore."""
    answer = ask(foreign(rig), Call(verb="backup.end", body={"workflow": HELD, "state": "done"}))
    assert isinstance(answer, PeerFailed)
    assert "leads no workflow" in answer.message
    peer = rig.a.state.peer(rig.b.system_id)
    ask(peer, Call(verb="backup.end", body={"workflow": HELD, "state": "done"}))
    assert rig.b.state.journal.leased(HELD) == ()


def test_a_stream_is_opened_once_an_attempt_and_only_with_the_connections_own(rig: Rig) -> None:
    peer = rig.a.state.peer(rig.b.system_id)
    (group,) = {one.row.group_id for one in rig.a.state.mirrors.values() if one.row.group_id}
    stream = stream_id_of(rig.a.system_id, group)
    for attempt, says in ((peer.connection().attempt, "open already"), (2**62, "of attempt")):
        opened = OpenStream(stream_id=stream, attempt=attempt, next_number=1)
        answer = ask(peer, opened)
        assert isinstance(answer, PeerFailed)
        assert says in answer.message
    rig.pvol.pwrite(b"y" * 5000, 100)  # its channels are still bound
    rig.pvol.flush()
    assert content(rig.pvol) == content(rig.spvol)
