from __future__ import annotations

from dataclasses import replace

import pytest

from pyrep.model.pair import CopyType, Direction, PairStatus, SplitCause
from pyrep.model.transitions import (
    Command,
    Decision,
    Outcome,
    RemoteView,
    Situation,
    decide,
    makes_generation,
)

COPIES_FORWARD = (Command.CREATE, Command.RESYNC_FORWARD)
COPIES = (*COPIES_FORWARD, Command.RESYNC_REVERSE)

NO_PAIR = Situation(copy_type=CopyType.LOCAL, status=PairStatus.SIMPLEX)
DUPLEX = replace(NO_PAIR, status=PairStatus.DUPLEX)
SPLIT = replace(NO_PAIR, status=PairStatus.SPLIT, cause=SplitCause.REQUESTED)
COPY = replace(NO_PAIR, status=PairStatus.COPY, target_consistent=False)
COPY_BACK = replace(COPY, direction=Direction.REVERSE)

REMOTE_DUPLEX = RemoteView(status=PairStatus.DUPLEX)
REMOTE_SPLIT = RemoteView(status=PairStatus.SPLIT)
REMOTE_FORWARD = RemoteView(status=PairStatus.COPY, consistent=False)
REMOTE_REVERSE = replace(REMOTE_FORWARD, direction=Direction.REVERSE)
REMOTE_BROKEN_OFF = replace(REMOTE_SPLIT, consistent=False)


def as_remote(situation: Situation) -> Situation:
    return replace(situation, copy_type=CopyType.REMOTE)


def ready(command: Command) -> Situation:
    """Return the situation in which a command is done when no guard speaks."""
    return {Command.CREATE: NO_PAIR, Command.SPLIT: DUPLEX}.get(command, SPLIT)


def outcome(command: Command, situation: Situation) -> Outcome:
    return decide(command, situation).outcome


@pytest.mark.parametrize("copy_type", CopyType)
@pytest.mark.parametrize(
    ("situation", "outcomes"),
    [
        (NO_PAIR, "done refused refused refused no-op"),
        (COPY, "no-op done no-op refused refused"),
        (COPY_BACK, "refused done refused no-op refused"),
        (DUPLEX, "no-op done no-op refused done"),
        (SPLIT, "refused no-op done done done"),
    ],
    ids=["simplex", "copy", "copy back", "duplex", "split"],
)
def test_each_command_in_each_status(
    copy_type: CopyType, situation: Situation, outcomes: str
) -> None:
    now = replace(situation, copy_type=copy_type)
    assert [outcome(command, now).value for command in Command] == outcomes.split()


@pytest.mark.parametrize("cause", SplitCause)
def test_splitting_what_would_resume_by_itself_makes_it_stay(cause: SplitCause) -> None:
    # The system resyncs such a pair when the path returns; in the middle of a restore that would
    # overwrite what was restored, so the split asked for must be recorded.
    expected = Outcome.DONE if cause.resumes_by_itself else Outcome.NO_OP
    assert outcome(Command.SPLIT, replace(SPLIT, cause=cause)) is expected


@pytest.mark.parametrize("command", [Command.CREATE, Command.SPLIT, Command.RESYNC_FORWARD])
def test_remote_duplex_allows_local_create_split_and_forward_resync(command: Command) -> None:
    now = replace(ready(command), remote=REMOTE_DUPLEX)
    assert decide(command, now) == Decision(outcome=Outcome.DONE)


def test_remote_duplex_refuses_a_copy_into_the_spvol() -> None:
    decision = decide(Command.RESYNC_REVERSE, replace(SPLIT, remote=REMOTE_DUPLEX))
    assert decision.outcome is Outcome.REFUSED
    assert decision.hint == "split the remote pair first: pair.split()"


@pytest.mark.parametrize("command", COPIES)
@pytest.mark.parametrize("forced", [False, True])
def test_remote_forward_copy_lets_nothing_be_copied_from_or_into_the_spvol(
    command: Command, forced: bool
) -> None:
    now = replace(ready(command), remote=REMOTE_FORWARD, forced=forced)
    decision = decide(command, now)
    assert decision.outcome is Outcome.REFUSED
    assert "until the remote pair is DUPLEX" in decision.hint


def test_a_split_during_a_remote_forward_copy_makes_no_generation() -> None:
    now = replace(DUPLEX, remote=REMOTE_FORWARD)
    assert decide(Command.SPLIT, now) == Decision(
        outcome=Outcome.DONE, reason="no generation is made: the content is inconsistent"
    )
    assert not makes_generation(now)


def test_remote_reverse_copy_lets_nothing_be_copied_into_the_spvol() -> None:
    now = replace(SPLIT, remote=REMOTE_REVERSE)
    assert outcome(Command.RESYNC_REVERSE, now) is Outcome.REFUSED


def test_remote_reverse_copy_allows_splits_and_they_make_generations() -> None:
    now = replace(DUPLEX, remote=REMOTE_REVERSE)
    assert outcome(Command.SPLIT, now) is Outcome.DONE
    assert makes_generation(now)


@pytest.mark.parametrize("remote", [REMOTE_SPLIT, None])
@pytest.mark.parametrize("command", Command)
def test_a_remote_pair_that_is_split_or_absent_allows_all(
    command: Command, remote: RemoteView | None
) -> None:
    now = replace(ready(command), remote=remote)
    assert decide(command, now) == Decision(outcome=Outcome.DONE)


@pytest.mark.parametrize("command", [Command.CREATE, Command.SPLIT, *COPIES])
@pytest.mark.parametrize("copy_type", CopyType)
def test_while_a_reverse_copy_runs_pairs_sharing_its_target_stay_as_they_are(
    command: Command, copy_type: CopyType
) -> None:
    now = replace(ready(command), copy_type=copy_type, sibling_reverse=True, forced=True)
    assert outcome(command, now) is Outcome.REFUSED


@pytest.mark.parametrize("command", COPIES)
@pytest.mark.parametrize("copy_type", CopyType)
def test_a_copy_from_inconsistent_data_is_refused_unless_forced(
    command: Command, copy_type: CopyType
) -> None:
    is_reverse = command is Command.RESYNC_REVERSE
    now = replace(
        ready(command),
        copy_type=copy_type,
        source_consistent=is_reverse,
        reverse_source_consistent=not is_reverse,
    )
    assert outcome(command, now) is Outcome.REFUSED
    assert outcome(command, replace(now, forced=True)) is Outcome.DONE


@pytest.mark.parametrize("command", COPIES_FORWARD)
def test_an_spvol_left_half_way_is_not_copied_from_unless_forced(command: Command) -> None:
    now = replace(ready(command), remote=REMOTE_BROKEN_OFF)
    assert outcome(command, now) is Outcome.REFUSED
    assert outcome(command, replace(now, forced=True)) is Outcome.DONE


def test_an_spvol_left_half_way_may_be_overwritten_by_a_generation() -> None:
    assert outcome(Command.RESYNC_REVERSE, replace(SPLIT, remote=REMOTE_BROKEN_OFF)) is Outcome.DONE


@pytest.mark.parametrize("copy_type", CopyType)
@pytest.mark.parametrize(
    ("direction", "same", "other"),
    [
        (Direction.FORWARD, Command.RESYNC_FORWARD, Command.RESYNC_REVERSE),
        (Direction.REVERSE, Command.RESYNC_REVERSE, Command.RESYNC_FORWARD),
    ],
)
def test_after_an_interruption_only_the_same_direction_resumes(
    copy_type: CopyType, direction: Direction, same: Command, other: Command
) -> None:
    now = replace(SPLIT, copy_type=copy_type, direction=direction, target_consistent=False)
    assert outcome(same, now) is Outcome.DONE
    assert outcome(other, now) is Outcome.REFUSED
    assert f"Direction.{direction.name}" in decide(other, now).hint
    assert outcome(other, replace(now, forced=True)) is Outcome.DONE


def test_a_half_way_pvol_is_not_left_behind_by_dissolving_unless_forced() -> None:
    now = replace(SPLIT, direction=Direction.REVERSE, target_consistent=False)
    assert outcome(Command.DISSOLVE, now) is Outcome.REFUSED
    assert outcome(Command.DISSOLVE, replace(now, forced=True)) is Outcome.DONE


@pytest.mark.parametrize("command", [Command.RESYNC_FORWARD, Command.DISSOLVE])
def test_a_generation_in_use_is_not_given_up_even_when_forced(command: Command) -> None:
    now = replace(SPLIT, svol_pins=("view 1", "w7"), forced=True)
    decision = decide(command, now)
    assert decision.outcome is Outcome.REFUSED
    assert "view 1, w7" in decision.reason


def test_a_generation_in_use_may_be_restored_from() -> None:
    now = replace(SPLIT, svol_pins=("view 1",))
    assert outcome(Command.RESYNC_REVERSE, now) is Outcome.DONE


@pytest.mark.parametrize("command", COPIES)
def test_nothing_is_copied_into_a_volume_that_another_copy_reads(command: Command) -> None:
    now = replace(as_remote(ready(command)), sibling_copying=True)
    assert outcome(command, now) is Outcome.REFUSED


def test_siblings_may_copy_out_of_one_volume_at_once_but_not_back_into_it() -> None:
    for command in COPIES_FORWARD:
        assert outcome(command, replace(ready(command), sibling_copying=True)) is Outcome.DONE
    now = replace(SPLIT, sibling_copying=True)
    assert outcome(Command.RESYNC_REVERSE, now) is Outcome.REFUSED


@pytest.mark.parametrize("copy_type", CopyType)
def test_a_pvol_that_another_copy_left_half_way_may_be_copied_over(copy_type: CopyType) -> None:
    now = replace(SPLIT, copy_type=copy_type, source_consistent=False)
    assert outcome(Command.RESYNC_REVERSE, now) is Outcome.DONE


@pytest.mark.parametrize("view", [REMOTE_DUPLEX, REMOTE_FORWARD, REMOTE_REVERSE])
def test_a_pvol_of_a_remote_pair_at_work_is_not_copied_into(view: RemoteView) -> None:
    assert outcome(Command.RESYNC_REVERSE, replace(SPLIT, target_remote=view)) is Outcome.REFUSED


def test_splitting_a_copy_says_that_its_target_stays_inconsistent() -> None:
    assert "inconsistent until a resync forward" in decide(Command.SPLIT, COPY).reason
    assert "inconsistent until a resync reverse" in decide(Command.SPLIT, COPY_BACK).reason
    assert not makes_generation(COPY)


def test_a_local_reverse_copy_ends_split_and_a_remote_one_duplex() -> None:
    assert decide(Command.RESYNC_FORWARD, COPY_BACK).hint == "wait until it is SPLIT"
    assert decide(Command.RESYNC_FORWARD, as_remote(COPY_BACK)).hint == "wait until it is DUPLEX"


def test_only_local_pairs_make_generations() -> None:
    assert makes_generation(DUPLEX)
    assert not makes_generation(as_remote(DUPLEX))
