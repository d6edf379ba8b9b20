"""Command by status: what each command does to a pair in each state, as one total, pure function.

Three outcomes, so that scripts can be run again safely: done, no-op (already so), refused (with the
reason, and what to do instead). The engine performs what `decide` allows and nothing else;
`pyrep.model.matrix` writes the table in docs/commands.md from it.

Source: architecture section 3.
"""

from __future__ import annotations

from typing import assert_never

from pyrep.model.guard import (
    RESYNC_FORWARD_CALL,
    RESYNC_REVERSE_CALL,
    copy_back_refusal,
    copy_forward_refusal,
    pin_refusal,
    pvol_half_way_refusal,
    sibling_reverse_refusal,
    svol_half_way_refusal,
)
from pyrep.model.pair import CopyType, PairStatus
from pyrep.model.situation import (
    Command,
    Decision,
    Outcome,
    RemoteView,
    Situation,
    done,
    no_op,
    refused,
)

__all__ = [
    "Command",
    "Decision",
    "Outcome",
    "RemoteView",
    "Situation",
    "decide",
    "makes_generation",
]


def decide(command: Command, situation: Situation) -> Decision:
    """Return what comes of a command in a situation.

    Total: every command in every situation has an outcome, also in those that can't arise; it never
    raises. Whether volumes may be a pair at all is `check_roles`' question; whether a path is up or
    a workflow holds the volumes is the engine's.
    """
    match command:
        case Command.CREATE:
            return _create(situation)
        case Command.SPLIT:
            return _split(situation)
        case Command.RESYNC_FORWARD:
            return _resync_forward(situation)
        case Command.RESYNC_REVERSE:
            return _resync_reverse(situation)
        case Command.DISSOLVE:
            return _dissolve(situation)
        case _:
            assert_never(command)


def makes_generation(situation: Situation) -> bool:
    """Return whether a split that is done in this situation makes a generation (INV-4).

    It does for a local pair in DUPLEX whose content is consistent: not while a forward copy of the
    remote pair, running or broken off, has the SPVOL half-way.
    """
    remote = situation.remote
    return (
        situation.copy_type is CopyType.LOCAL
        and situation.status is PairStatus.DUPLEX
        and situation.target_consistent
        and situation.source_consistent
        and (remote is None or remote.spvol_consistent)
    )


def _create(now: Situation) -> Decision:
    match now.status:
        case PairStatus.SIMPLEX:
            return copy_forward_refusal(now) or done()
        case PairStatus.SPLIT:
            return refused(
                "these volumes are a pair already, it is SPLIT",
                RESYNC_FORWARD_CALL if now.pvol_consistent else RESYNC_REVERSE_CALL,
            )
        case PairStatus.COPY | PairStatus.DUPLEX:
            if now.is_copying_back:
                return refused(
                    "these volumes are a pair already, it is copying back", _reverse_ends(now)
                )
            return no_op(f"these volumes are a pair already, it is {now.status}")
        case _:
            assert_never(now.status)


def _split(now: Situation) -> Decision:
    match now.status:
        case PairStatus.SIMPLEX:
            return _no_pair()
        case PairStatus.SPLIT:
            if now.cause is not None and now.cause.resumes_by_itself:
                # Were this a no-op, the system would resync forward by itself, in the middle of a
                # restore into the volume that was split for it.
                return done("it is SPLIT already, and won't resume by itself any more")
            return no_op("it is SPLIT already")
        case PairStatus.COPY | PairStatus.DUPLEX:
            return sibling_reverse_refusal(now) or _split_running(now)
        case _:
            assert_never(now.status)


def _split_running(now: Situation) -> Decision:
    if now.status is PairStatus.COPY:
        return done(
            "the copy stops where it is: the volume it copied into is inconsistent until a resync "
            f"{now.direction} has ended"
        )
    if now.copy_type is CopyType.LOCAL and not makes_generation(now):
        return done("no generation is made: the content is inconsistent")
    return done()


def _resync_forward(now: Situation) -> Decision:
    match now.status:
        case PairStatus.SIMPLEX:
            return _no_pair()
        case PairStatus.DUPLEX:
            return no_op("it is DUPLEX already")
        case PairStatus.COPY:
            if now.is_copying_back:
                return refused("status is COPY (reverse), resync needs SPLIT", _reverse_ends(now))
            return no_op("it is copying forward already")
        case PairStatus.SPLIT:
            return (
                pin_refusal(now)
                or pvol_half_way_refusal(now)
                or copy_forward_refusal(now)
                or done()
            )
        case _:
            assert_never(now.status)


def _resync_reverse(now: Situation) -> Decision:
    match now.status:
        case PairStatus.SIMPLEX:
            return _no_pair()
        case PairStatus.DUPLEX:
            return refused("status is DUPLEX, reverse resync needs SPLIT", "pair.split() first")
        case PairStatus.COPY:
            if now.is_copying_back:
                return no_op("it is copying back already")
            return refused(
                "status is COPY (forward), reverse resync needs SPLIT",
                "wait until it is DUPLEX, then pair.split()",
            )
        case PairStatus.SPLIT:
            return svol_half_way_refusal(now) or copy_back_refusal(now) or done()
        case _:
            assert_never(now.status)


def _dissolve(now: Situation) -> Decision:
    match now.status:
        case PairStatus.SIMPLEX:
            return no_op("there is no such pair")
        case PairStatus.COPY:
            return refused(
                f"status is COPY ({now.direction}), dissolve needs DUPLEX or SPLIT",
                f"{_reverse_ends(now)}, or stop it with pair.split()"
                if now.is_copying_back
                else "wait until it is DUPLEX, or stop it with pair.split()",
            )
        case PairStatus.DUPLEX:
            return done()
        case PairStatus.SPLIT:
            return pin_refusal(now) or pvol_half_way_refusal(now) or done()
        case _:
            assert_never(now.status)


def _reverse_ends(now: Situation) -> str:
    """Return what to wait for: a local pair's reverse copy ends SPLIT, a remote one's DUPLEX."""
    is_local = now.copy_type is CopyType.LOCAL
    return f"wait until it is {PairStatus.SPLIT if is_local else PairStatus.DUPLEX}"


def _no_pair() -> Decision:
    return refused("there is no such pair (SIMPLEX)", "create it first")
