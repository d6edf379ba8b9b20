from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from pyrep.errors import WireError
from pyrep.interconnect import messages, terms
from pyrep.interconnect.messages import Hello, ReadPair, decode_plain, encode
from pyrep.interconnect.terms import OFFER, Offer, Terms, agree
from rig import Rig, fill

NEXT = Offer(oldest=2, newest=3)
"""What the version after this one will offer."""
FIRST = Offer(oldest=1, newest=1)
"""What 0.1.0 would have offered, if its messages had ever left a process."""


def refusal(own: Offer, theirs: Offer) -> str:
    """Return why there are no terms, as both sides say it."""
    with pytest.raises(WireError) as here:
        agree("100a", own, "100b", theirs)
    with pytest.raises(WireError) as there:
        agree("100b", theirs, "100a", own)
    assert here.value.hint
    assert there.value.hint
    return str(here.value)


@pytest.mark.parametrize(
    ("own", "theirs", "version"),
    [
        (OFFER, OFFER, 2),
        (OFFER, NEXT, 2),
        (NEXT, NEXT, 3),
        (Offer(oldest=3, newest=9), Offer(oldest=1, newest=4), 4),
    ],
)
def test_two_systems_speak_the_highest_version_that_both_know(
    own: Offer, theirs: Offer, version: int
) -> None:
    assert agree("100a", own, "100b", theirs) == agree("100b", theirs, "100a", own)
    assert agree("100a", own, "100b", theirs).version == version


def test_without_a_common_version_both_are_named() -> None:
    text = refusal(OFFER, FIRST)
    assert "100b speaks version 1 of the protocol, system 100a version 2" in text


def test_an_unknown_feature_is_left_out_and_a_common_one_is_there() -> None:
    own = Offer(features=frozenset({"both", "here"}))
    theirs = Offer(features=frozenset({"both", "there"}))
    assert agree("100a", own, "100b", theirs).features == {"both"}


def test_a_required_feature_that_is_missing_is_named_by_either_side() -> None:
    text = refusal(Offer(features=frozenset({"one"})), Offer(required=frozenset({"one", "other"})))
    assert text == "system 100b requires what system 100a doesn't have: other"


def test_a_name_with_a_line_feed_makes_no_second_line_of_log() -> None:
    text = refusal(OFFER, Offer(required=frozenset({"x\nWARNING all is lost" + "x" * 9999})))
    assert "\n" not in text
    assert len(text) < 500


def test_a_handshake_says_what_is_offered() -> None:
    offer = Offer(oldest=2, newest=3, features=frozenset("ba"), required=frozenset("c"))
    hello = Hello(system_id="100a", boot_id=b"", **offer.words())
    assert Offer.of(decode_plain(encode(hello), Hello)) == offer


def test_a_handshake_of_before_there_were_features_has_none() -> None:
    said = {"system_id": "100a", "boot_id": b"", "version_min": 2, "version_max": 2, "later": [1]}
    body = msgspec.msgpack.encode(said)
    hello = decode_plain(messages._digest(body) + body, Hello)
    assert Offer.of(hello) == Offer(features=frozenset())


def test_a_command_of_a_feature_that_was_not_agreed_on_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs: Mapping[type[msgspec.Struct], str] = {ReadPair: "reading"}
    monkeypatch.setattr(terms, "NEEDS", needs)
    asked = ReadPair(pair_id="100a.1")
    Terms(features=frozenset({"reading"})).check(asked, "system 100b")
    with pytest.raises(WireError, match=r"read_pair needs feature 'reading'.* with system 100b"):
        Terms().check(asked, "system 100b")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    made.make("100a", "105a", "106a")
    made.make("100b", "105b", "106b", "107b")
    yield made
    made.close()


def test_this_version_mirrors_with_one_that_offers_the_next_version_too(rig: Rig) -> None:
    rig.b.endpoint.offer = NEXT
    rig.reconnect()
    rig.remote()
    fill(rig.pvol, 2)
    for system, other in ((rig.a, rig.b), (rig.b, rig.a)):
        assert system.state.peer(other.system_id).terms.version == 2


def test_two_of_the_next_version_speak_that(rig: Rig) -> None:
    rig.a.endpoint.offer = rig.b.endpoint.offer = NEXT
    rig.reconnect()
    assert rig.a.state.peer(rig.b.system_id).terms.version == 3


def test_a_system_without_a_common_version_is_refused_and_nothing_is_kept_of_it(rig: Rig) -> None:
    rig.b.endpoint.offer = FIRST
    with pytest.raises(WireError, match="100b speaks version 1 of the protocol"):
        rig.reconnect()
    assert not rig.a.endpoint.is_connected(rig.b.system_id)
    assert rig.a.state.peer_table.get(rig.b.system_id) is None


def test_neither_side_sends_or_takes_a_command_that_the_other_does_not_know(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.b.endpoint.offer = Offer(features=frozenset({"reading"}))
    rig.reconnect()
    pair = rig.remote()
    monkeypatch.setattr(terms, "NEEDS", {ReadPair: "reading"})
    peer = rig.a.state.peer(rig.b.system_id)
    asked = ReadPair(pair_id=pair.pair_id)
    with pytest.raises(WireError, match="read_pair needs feature"):
        peer.ask(asked)
    answer = messages.decode_answer(peer.connection().request(encode(asked)))
    assert isinstance(answer, messages.PeerFailed)
    assert "wasn't agreed on with system 100a" in answer.message
