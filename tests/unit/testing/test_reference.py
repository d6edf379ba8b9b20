"""The reference refuses what can't be, or the machine test would believe anything."""

from __future__ import annotations

import pytest

from pyrep.model import AckPoint, Direction, PairStatus, SplitCause
from pyrep.testing import (
    Asked,
    Content,
    Events,
    Facts,
    HostWrite,
    ModelError,
    Observed,
    Reference,
    ReferencePair,
    reachable,
)

PVOL, SPVOL, SVOL = ("100a", "105a"), ("100b", "105b"), ("100b", "106b")
SIZE = 20_000
COPY = Facts(status=PairStatus.COPY)
DUPLEX = Facts(status=PairStatus.DUPLEX, consistent=True)
REQUESTED = Facts(status=PairStatus.SPLIT, cause=SplitCause.REQUESTED, consistent=True)
LOST = Facts(status=PairStatus.SPLIT, cause=SplitCause.PATH_LOST, consistent=True)
PROTECTED = Facts(status=PairStatus.SPLIT, cause=SplitCause.PROTECT, consistent=True)
BACK = Facts(status=PairStatus.COPY, direction=Direction.REVERSE)


def seen(remote: Facts, local: Facts, **generations: list[tuple[str, str]]) -> Observed:
    return Observed(
        sides={"remote": (remote, remote), "local": (local, local)}, generations=generations
    )


@pytest.fixture
def reference() -> Reference:
    """Return 105a → 105b → 106b, all DUPLEX."""
    made = Reference()
    for name in (PVOL, SPVOL, SVOL):
        made.add_volume(name, SIZE)
    made.add_pair(ReferencePair(pair_id="remote", pvol=PVOL, svol=SPVOL, ack=AckPoint.RECEIVED))
    made.add_pair(ReferencePair(pair_id="local", pvol=SPVOL, svol=SVOL))
    made.observe(seen(DUPLEX, DUPLEX))
    return made


def test_a_write_goes_to_all_that_is_duplex_behind_it(reference: Reference) -> None:
    reference.write(PVOL, HostWrite(offset=5, data=b"x"))
    for name in (PVOL, SPVOL, SVOL):
        assert reference.content(name).read(1, 5) == b"x"


def test_a_split_keeps_what_was_and_takes_no_host_write(reference: Reference) -> None:
    reference.observe(seen(DUPLEX, REQUESTED, g1=[SVOL]), asked={"local": Asked.SPLIT})
    reference.write(PVOL, HostWrite(offset=5, data=b"x"))
    assert reference.content(SVOL) == Content(SIZE) == reference.generations["g1"][SVOL]
    assert reference.content(SPVOL).read(1, 5) == b"x"
    assert not reference.takes_host_writes(SVOL)
    assert reference.takes_host_writes(PVOL)
    assert not reference.takes_host_writes(SPVOL)


@pytest.mark.parametrize(
    "remote",
    [REQUESTED, LOST, BACK, Facts(status=PairStatus.DUPLEX)],
    ids=["split unasked", "lost, with the path up", "copies back unasked", "inconsistent"],
)
def test_what_nothing_explains_is_refused(reference: Reference, remote: Facts) -> None:
    with pytest.raises(ModelError):
        reference.observe(seen(remote, DUPLEX))


def test_a_lost_path_explains_a_split(reference: Reference) -> None:
    reference.observe(seen(LOST, DUPLEX), path_was_lost=True)
    assert not reference.takes_host_writes(SPVOL)


def test_a_consistent_pair_cant_become_inconsistent_by_a_split(reference: Reference) -> None:
    bad = Facts(status=PairStatus.SPLIT, cause=SplitCause.REQUESTED)
    with pytest.raises(ModelError, match="lost its consistency"):
        reference.observe(seen(DUPLEX, bad, g1=[SVOL]), asked={"local": Asked.SPLIT})


def test_a_resync_into_a_consistent_spvol_must_have_kept_a_generation(
    reference: Reference,
) -> None:
    reference.observe(seen(LOST, DUPLEX), path_was_lost=True)
    reference.write(PVOL, HostWrite(offset=5, data=b"x"))
    with pytest.raises(ModelError, match="no consistent copy was kept"):
        reference.observe(seen(DUPLEX, DUPLEX))


def test_the_kept_generation_holds_what_was_before_the_resync(reference: Reference) -> None:
    reference.observe(seen(LOST, DUPLEX), path_was_lost=True)
    reference.write(PVOL, HostWrite(offset=5, data=b"x"))
    reference.observe(seen(DUPLEX, PROTECTED, g1=[SVOL]))
    assert reference.content(SPVOL).read(1, 5) == b"x"
    assert reference.generations["g1"][SVOL] == Content(SIZE)


def test_a_protective_split_without_its_generation_is_refused(reference: Reference) -> None:
    with pytest.raises(ModelError, match="no generation"):
        reference.observe(seen(DUPLEX, PROTECTED))


def test_a_local_mirror_is_inconsistent_as_long_as_its_source_is(reference: Reference) -> None:
    half_way = Facts(status=PairStatus.SPLIT, cause=SplitCause.UNCLEAN)
    follows = Facts(status=PairStatus.DUPLEX)
    reference.observe(seen(half_way, follows), crashed=["100b"], path_was_lost=True)
    assert not reference.is_known(SVOL)
    with pytest.raises(ModelError, match="pair local is DUPLEX and inconsistent"):
        reference.observe(seen(DUPLEX, follows))
    reference.observe(seen(DUPLEX, DUPLEX))
    assert reference.is_known(SVOL)


def test_a_generation_of_inconsistent_content_is_refused(reference: Reference) -> None:
    half_way = Facts(status=PairStatus.SPLIT, cause=SplitCause.REQUESTED)
    reference.observe(seen(REQUESTED, DUPLEX), asked={"remote": Asked.SPLIT})
    reference.observe(seen(COPY, DUPLEX), asked={"remote": Asked.FORWARD})
    reference.observe(seen(half_way, DUPLEX), asked={"remote": Asked.SPLIT})
    with pytest.raises(ModelError, match="inconsistent content"):
        reference.observe(seen(half_way, REQUESTED, g1=[SVOL]), asked={"local": Asked.SPLIT})


def test_a_copy_back_brings_the_generation_up_to_the_pvol(reference: Reference) -> None:
    reference.observe(seen(DUPLEX, REQUESTED, g1=[SVOL]), asked={"local": Asked.SPLIT})
    reference.write(PVOL, HostWrite(offset=5, data=b"x"))
    reference.observe(
        seen(DUPLEX, REQUESTED, g1=[SVOL]),
        asked={"local": Asked.REVERSE, "remote": Asked.RESTORE},
    )
    for name in (PVOL, SPVOL, SVOL):
        assert reference.content(name) == Content(SIZE)


def test_after_a_power_loss_each_write_is_there_or_not(reference: Reference) -> None:
    reference.write(PVOL, HostWrite(offset=0, data=b"aaaa"))
    reference.flush(PVOL)
    reference.write(PVOL, HostWrite(offset=2, data=b"bbbb"))
    reference.write(PVOL, HostWrite(offset=4, data=b"cccc"))
    rest = bytes(SIZE - 8)
    for kept in (b"aaaa\0\0\0\0", b"aabbbb\0\0", b"aaaacccc", b"aabbcccc"):
        reference.lose_power(PVOL, kept + rest)
        reference = _same(kept + rest)
    with pytest.raises(ModelError, match="byte 0"):
        reference.lose_power(PVOL, bytes(SIZE))  # it was flushed


def _same(found: bytes) -> Reference:
    """Return the state before the power loss once more, whatever was found after it."""
    made = Reference()
    made.add_volume(PVOL, len(found))
    made.write(PVOL, HostWrite(offset=0, data=b"aaaa"))
    made.flush(PVOL)
    made.write(PVOL, HostWrite(offset=2, data=b"bbbb"))
    made.write(PVOL, HostWrite(offset=4, data=b"cccc"))
    return made


def test_a_local_copy_back_ends_split_never_duplex() -> None:
    places = reachable(BACK.place, Events(is_remote=False))
    assert places == {BACK.place, REQUESTED.place}
    assert DUPLEX.place in reachable(BACK.place, Events(is_remote=True))


@pytest.mark.parametrize("cause", [SplitCause.REQUESTED, SplitCause.PROTECT])
def test_what_was_asked_for_never_resumes_by_itself(cause: SplitCause) -> None:
    place = (PairStatus.SPLIT, cause, Direction.FORWARD)
    everything = Events(is_remote=True, crashed=True, path_was_lost=True)
    assert reachable(place, everything) == {place}
