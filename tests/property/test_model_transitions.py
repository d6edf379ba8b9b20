"""The matrix as properties: total, never raising, steady, and honest in its hints."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from pyrep.model.pair import CopyType, Direction, PairStatus, SplitCause
from pyrep.model.transitions import (
    Command,
    Outcome,
    RemoteView,
    Situation,
    decide,
    makes_generation,
)

VIEWS = [
    RemoteView(status=status, direction=direction, consistent=consistent)
    for status, direction, consistent in product(PairStatus, Direction, (False, True))
]

views = st.none() | st.sampled_from(VIEWS)
situations = st.builds(
    Situation,
    copy_type=st.sampled_from(CopyType),
    status=st.sampled_from(PairStatus),
    direction=st.sampled_from(Direction),
    cause=st.none() | st.sampled_from(SplitCause),
    target_consistent=st.booleans(),
    remote=views,
    sibling_reverse=st.booleans(),
    sibling_copying=st.booleans(),
    source_consistent=st.booleans(),
    reverse_source_consistent=st.booleans(),
    target_remote=views,
    svol_pins=st.sampled_from([(), ("view 1",)]),
    forced=st.booleans(),
)
commands = st.sampled_from(Command)

CALLS = {"split", "resync", "dissolve"}


def performed(command: Command, now: Situation) -> Situation:
    """Return the situation right after a command that was done."""
    match command:
        case Command.CREATE | Command.RESYNC_FORWARD | Command.RESYNC_REVERSE:
            is_reverse = command is Command.RESYNC_REVERSE
            return replace(
                now,
                status=PairStatus.COPY,
                cause=None,
                direction=Direction.REVERSE if is_reverse else Direction.FORWARD,
                target_consistent=False,
            )
        case Command.SPLIT:
            return replace(now, status=PairStatus.SPLIT, cause=SplitCause.REQUESTED)
        case Command.DISSOLVE:
            return replace(now, status=PairStatus.SIMPLEX, cause=None)


def test_every_command_in_every_state_has_an_outcome() -> None:
    states = product(
        Command, CopyType, PairStatus, Direction, [None, *SplitCause], (False, True), [None, *VIEWS]
    )
    for command, copy_type, status, direction, cause, consistent, view in states:
        now = Situation(
            copy_type=copy_type,
            status=status,
            direction=direction,
            cause=cause,
            target_consistent=consistent,
            remote=view,
        )
        assert decide(command, now).outcome in Outcome


@given(command=commands, now=situations)
def test_a_refusal_gives_its_reason_and_a_hint_and_a_no_op_its_reason(
    command: Command, now: Situation
) -> None:
    decision = decide(command, now)
    if decision.outcome is Outcome.REFUSED:
        assert decision.reason
        assert decision.hint
    else:
        assert not decision.hint
    if decision.outcome is Outcome.NO_OP:
        assert decision.reason


@given(command=commands, now=situations)
def test_hints_name_only_calls_that_exist(command: Command, now: Situation) -> None:
    decision = decide(command, now)
    assert set(re.findall(r"pair\.(\w+)\(", decision.hint)) <= CALLS
    assert set(re.findall(r"(\w+)\(", decision.hint)) <= CALLS


@given(command=commands, now=situations)
def test_a_command_given_again_is_a_no_op(command: Command, now: Situation) -> None:
    if decide(command, now).outcome is Outcome.DONE:
        after = performed(command, now)
        assert decide(command, after).outcome is Outcome.NO_OP


@given(command=commands, now=situations, other=situations)
def test_a_no_op_stays_one_whatever_else_happens_around_the_pair(
    command: Command, now: Situation, other: Situation
) -> None:
    if decide(command, now).outcome is Outcome.NO_OP:
        surroundings = replace(
            other,
            copy_type=now.copy_type,
            status=now.status,
            direction=now.direction,
            cause=now.cause,
            target_consistent=now.target_consistent,
        )
        assert decide(command, surroundings).outcome is Outcome.NO_OP


@given(command=commands, now=situations)
def test_force_only_ever_turns_a_refusal_into_done(command: Command, now: Situation) -> None:
    gentle = decide(command, replace(now, forced=False))
    forced = decide(command, replace(now, forced=True))
    if forced != gentle:
        assert gentle.outcome is Outcome.REFUSED
        assert "inconsistent" in gentle.reason


@given(command=commands, now=situations)
def test_no_copy_starts_from_inconsistent_data_unforced(command: Command, now: Situation) -> None:
    is_done = decide(command, now).outcome is Outcome.DONE
    if (
        not is_done
        or now.forced
        or command
        not in {
            Command.CREATE,
            Command.RESYNC_FORWARD,
            Command.RESYNC_REVERSE,
        }
    ):
        return
    if command is Command.RESYNC_REVERSE:
        assert now.svol_consistent
        assert now.reverse_source_consistent
        return
    assert now.source_consistent
    if now.status is PairStatus.SPLIT:
        assert now.pvol_consistent


@given(now=situations)
def test_a_generation_is_made_only_by_a_split_that_is_done_and_keeps_no_content_back(
    now: Situation,
) -> None:
    decision = decide(Command.SPLIT, now)
    if makes_generation(now) and decision.outcome is Outcome.DONE:
        assert now.status is PairStatus.DUPLEX
        assert decision.reason == ""


@given(now=situations)
def test_a_pair_can_always_be_brought_to_an_end_once_its_surroundings_are_quiet(
    now: Situation,
) -> None:
    quiet = replace(now, sibling_reverse=False, svol_pins=(), forced=True)
    for command in (Command.SPLIT, Command.DISSOLVE):
        if decide(command, quiet).outcome is Outcome.DONE:
            quiet = performed(command, quiet)
    assert quiet.status is PairStatus.SIMPLEX
