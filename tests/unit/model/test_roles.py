from __future__ import annotations

from itertools import count

import pytest

from pyrep.model.ids import GroupId, PairId, SystemId, VolumeId, new_key
from pyrep.model.pair import AckPoint, CopyType, PairStatus, Primary, Row
from pyrep.model.roles import VolumeRef, check_roles
from pyrep.model.transitions import Decision, Outcome

A = SystemId("100a")
B = SystemId("100b")

_numbers = count(1)


def ref(text: str) -> VolumeRef:
    """Return the volume of Fig. 1 of this name: 105a is in system 100a."""
    return VolumeRef(SystemId(f"100{text[-1]}"), VolumeId(text))


def row(pvol: str, svol: str, side: str) -> Row:
    """Return the row that the volume `side` has of the pair pvol → svol."""
    here = ref(side)
    there = ref(svol if side == pvol else pvol)
    is_remote = here.system_id != there.system_id
    return Row(
        pair_id=PairId(f"100a.{next(_numbers)}"),
        copy_type=CopyType.REMOTE if is_remote else CopyType.LOCAL,
        volume_id=here.volume_id,
        pair_system_id=there.system_id,
        mirror_volume_id=there.volume_id,
        primary=Primary.YES if side == pvol else Primary.NO,
        status=PairStatus.DUPLEX,
        group_id=GroupId("g") if is_remote else None,
        ack=AckPoint.RECEIVED if is_remote else None,
        row_key=new_key(),
    )


def check(rows: list[Row], system: SystemId, pvol: str, svol: str) -> Decision:
    source, target = ref(pvol), ref(svol)
    is_local = source.system_id == target.system_id
    return check_roles(
        rows,
        system_id=system,
        copy_type=CopyType.LOCAL if is_local else CopyType.REMOTE,
        pvol=source,
        svol=target,
    )


MIRROR_AT_A = row("105a", "105b", "105a")
MIRROR_AT_B = row("105a", "105b", "105b")
LOCAL_AT_B = [row("105b", "106b", "105b"), row("105b", "106b", "106b")]
FIGURE_1 = [MIRROR_AT_B, *LOCAL_AT_B]


@pytest.mark.parametrize(
    ("rows", "system", "pvol", "svol"),
    [
        ([], A, "105a", "105b"),
        ([], B, "105b", "106b"),
        ([MIRROR_AT_B], B, "105b", "106b"),
        (FIGURE_1, B, "105b", "107b"),
        (LOCAL_AT_B, B, "105a", "105b"),
        ([MIRROR_AT_A], A, "105a", "106a"),
        ([MIRROR_AT_A], A, "105a", "105c"),
        (FIGURE_1, B, "105c", "108b"),
    ],
    ids=[
        "a remote pair",
        "a local pair",
        "a local pair of an SPVOL",
        "a second generation's pair",
        "a remote pair into a volume with local mirrors",
        "a local mirror of the PVOL",
        "a second remote mirror of the PVOL",
        "a third system's volume, collected beside",
    ],
)
def test_the_shapes_of_figure_1_are_allowed(
    rows: list[Row], system: SystemId, pvol: str, svol: str
) -> None:
    assert check(rows, system, pvol, svol) == Decision(outcome=Outcome.DONE)


@pytest.mark.parametrize(
    ("rows", "system", "pvol", "svol", "reason"),
    [
        ([], B, "105b", "105b", "100b:105b can't be its own mirror"),
        (LOCAL_AT_B, B, "107b", "106b", "is the SVOL of pair"),
        ([MIRROR_AT_B], B, "105c", "105b", "is the SVOL of pair"),
        ([MIRROR_AT_B], B, "107b", "105b", "is the SVOL of pair"),
        (LOCAL_AT_B, B, "106b", "105b", "a cycle"),
        ([MIRROR_AT_A], A, "105b", "105a", "a cycle"),
        (LOCAL_AT_B, B, "106b", "107b", "is the SVOL of local pair"),
        (LOCAL_AT_B, B, "106b", "105c", "is the SVOL of local pair"),
        ([MIRROR_AT_B], B, "105b", "105c", "only local pairs may follow it"),
        (LOCAL_AT_B, B, "104b", "105b", "nothing may follow a local SVOL"),
        ([MIRROR_AT_A], A, "104a", "105a", "nothing may follow a local SVOL"),
        ([MIRROR_AT_A], A, "105c", "105a", "no remote pair may follow another"),
    ],
    ids=[
        "its own mirror",
        "SVOL of two local pairs",
        "SVOL of two remote pairs",
        "SVOL of a remote and a local pair",
        "a local cycle",
        "a remote cycle",
        "a local pair after a local SVOL",
        "a remote pair after a local SVOL",
        "a remote pair after a remote one",
        "a local pair before a local one",
        "a local pair before a remote one",
        "a remote pair before a remote one",
    ],
)
def test_a_clashing_role_is_refused_by_name(
    rows: list[Row], system: SystemId, pvol: str, svol: str, reason: str
) -> None:
    decision = check(rows, system, pvol, svol)
    assert decision.outcome is Outcome.REFUSED
    assert reason in decision.reason
    assert decision.hint


def test_the_pair_itself_does_not_clash_with_itself() -> None:
    assert check(FIGURE_1, B, "105b", "106b").outcome is Outcome.DONE
    assert check([MIRROR_AT_A], A, "105a", "105b").outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("copy_type", "svol", "hint"),
    [(CopyType.REMOTE, "106b", "local"), (CopyType.LOCAL, "105a", "remote")],
)
def test_the_copy_type_must_fit_the_systems(copy_type: CopyType, svol: str, hint: str) -> None:
    decision = check_roles([], system_id=B, copy_type=copy_type, pvol=ref("105b"), svol=ref(svol))
    assert decision.outcome is Outcome.REFUSED
    assert hint in decision.hint
