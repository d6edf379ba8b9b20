"""What another system may ask digests of."""

from __future__ import annotations

import pytest

from pyrep._core import Runs
from pyrep.errors import (
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    WireError,
)
from pyrep.interconnect.messages import Digests, ReadDigests
from rig import CHUNK, MIB, SIZE, Rig

CHUNKS = SIZE // CHUNK


def test_questions_that_can_not_be_are_refused(rig: Rig) -> None:
    pair = rig.remote()
    peer = rig.a.state.peer(pair.row.pair_system_id)

    def asked(**changed: object) -> object:
        plain: dict[str, object] = {
            "pair_id": pair.pair_id,
            "kind": "xxh3",
            "group_bytes": MIB,
            "runs": Runs.of([(0, 1)]).to_bytes(),
        }
        return peer.ask(ReadDigests(**(plain | changed)))  # type: ignore[arg-type]

    answer = asked()
    assert isinstance(answer, Digests)
    assert len(answer.values) == 16
    with pytest.raises(WireError, match="md5"):
        asked(kind="md5")
    with pytest.raises(InvalidArgumentError):
        asked(group_bytes=2 * MIB)
    with pytest.raises(InvalidArgumentError):
        asked(group_bytes=CHUNK - 1)
    with pytest.raises(WireError):
        asked(runs=b"1234567")
    with pytest.raises(OutOfRangeError):
        asked(runs=Runs.of([(CHUNKS, 1)]).to_bytes())
    with pytest.raises(InvalidArgumentError):
        asked(runs=Runs.of([(4, 1), (3, 1)]).to_bytes())
    with pytest.raises(InvalidArgumentError, match="runs at once"):
        asked(runs=Runs.of([(0, 1)] * 9000).to_bytes())
    with pytest.raises(NotFoundError):
        asked(pair_id="100a.99")


def test_a_system_is_told_digests_of_its_own_pairs_only(rig: Rig) -> None:
    rig.remote()
    pair = rig.local()
    peer = rig.a.state.peer(rig.b.system_id)
    with pytest.raises(NotFoundError):
        peer.ask(
            ReadDigests(
                pair_id=pair.pair_id,
                kind="xxh3",
                group_bytes=MIB,
                runs=Runs.of([(0, 1)]).to_bytes(),
            )
        )
