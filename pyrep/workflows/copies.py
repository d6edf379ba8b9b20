"""Copies of other systems' catalogue rows, brought up to date by asking who holds them.

A backup leaves a copy of its generation's row at the primary. What becomes of the generation is the
holding system's: it may give the generation up, protect, rename or forget it. A primary that was
made anew, since its site was lost, has none of these copies, and learns them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pyrep.engine import StorageSystem
from pyrep.engine.peer import Peer
from pyrep.errors import InvalidArgumentError, NotFoundError, PyrepError, WireError
from pyrep.model import Generation, GenerationId, GenerationState, SystemId
from pyrep.workflows.codec import generation_from, generation_to

__all__ = ["find_generation", "generation_verbs", "refresh_generations"]

_log = logging.getLogger(__name__)

_AT_ONCE = 200
"""Rows in one question: its answer stays far below the bound of a command."""

_SLICE_S = 0.2

_MAY_CHANGE = {GenerationState.TAKING, GenerationState.UNCONFIRMED, GenerationState.COMPLETE}

Verb = Callable[[Peer, dict[str, Any]], dict[str, Any]]


def refresh_generations(
    system: StorageSystem, *, home: SystemId | None = None, wait_s: float | None = None
) -> tuple[SystemId, ...]:
    """Ask the systems that hold generations of this one's volumes which, and what became of others.

    Complete ones that this system doesn't know yet, since it was made anew or they were split
    there, are known from then on. Rows that a holder has forgotten are forgotten here, too; of
    those that have ended up to 200 are asked about at a time, in turn: the cost doesn't go by how
    many there ever were.

    Args:
        system: the one whose copies are brought up to date.
        home: ask this holder alone; None: all of them.
        wait_s: ask all at once, and wait so long for their answers; what comes later counts for the
            next time. None: one after the other, each until it has answered or its path is lost.

    Returns:
        The holders that couldn't be asked, since the path to them is down or they refused, or that
        haven't answered: of theirs, what was last heard stays.
    """
    connected = {peer.system_id for peer in list(system.state.peers.values()) if peer.is_connected}
    holders = connected.union(system.state.catalogue.homes()) - {system.system_id}
    asked = sorted(holders if home is None else holders & {home})
    if wait_s is None:
        heard = {holder for holder in asked if _has_answered(system, holder)}
    else:
        heard = _ask_at_once(system, asked, wait_s)
    return tuple(holder for holder in asked if holder not in heard)


def _has_answered(system: StorageSystem, holder: SystemId) -> bool:
    try:
        _refresh(system, holder)
    except PyrepError as error:
        _log.info("generation.copies home=%s not asked: %s", holder, error)
        return False
    return True


def _ask_at_once(
    system: StorageSystem, holders: Sequence[SystemId], wait_s: float
) -> set[SystemId]:
    """Ask holders beside each other; return those that have answered in time.

    One that is being asked for somebody else is asked when that has ended: its answer may be from
    before this question. So there is never more than one thread for a holder that is dead.
    """
    state = system.state
    answers: dict[SystemId, bool | None] = {}
    end_s = time.monotonic() + wait_s

    def ask(holder: SystemId) -> None:
        answered = False
        try:
            answered = _has_answered(system, holder)
        finally:
            with state.control:
                state.asking.discard(holder)
                answers[holder] = answered
                state.control.notify_all()

    with state.control:
        while not state.closing:
            for holder in holders:
                if holder not in answers and holder not in state.asking:
                    answers[holder] = None
                    state.asking.add(holder)
                    state.background(f"ask {holder}", partial(ask, holder))
            is_over = len(answers) == len(holders) and None not in answers.values()
            if is_over or time.monotonic() >= end_s:
                break
            state.control.wait(min(_SLICE_S, wait_s))
        return {holder for holder, answered in answers.items() if answered}


def find_generation(
    system: StorageSystem, generation_id: str, *, wait_s: float | None = None
) -> Generation:
    """Return a generation; one that isn't known here is asked for where it may be held.

    Args:
        system: where it is looked for.
        generation_id: which.
        wait_s: as `refresh_generations`.

    Raises:
        NotFoundError: nobody who can be asked has it; the hint names those there are.
    """
    try:
        return system.generation(generation_id)
    except NotFoundError:
        refresh_generations(system, wait_s=wait_s)
        return system.generation(generation_id)


def _refresh(system: StorageSystem, holder: SystemId) -> None:
    catalogue = system.state.catalogue
    held: set[GenerationId] = set()
    for page in _pages(system, holder):
        with system.state.control:
            for told in page:
                held.add(told.generation_id)
                _learn(system, holder, told)
    doubtful = [
        one.generation_id
        for one in catalogue.held(holder, _MAY_CHANGE)
        if one.generation_id not in held
    ]
    room = _AT_ONCE - len(doubtful) % _AT_ONCE  # what is left of the last question
    doubtful += _ended_in_turn(system, holder, room)
    for at in range(0, len(doubtful), _AT_ONCE):
        _ask_about(system, holder, doubtful[at : at + _AT_ONCE])


def _pages(system: StorageSystem, holder: SystemId) -> Iterator[list[Generation]]:
    """Yield what a holder has of this system's volumes, complete, by ascending ids."""
    after = ""
    while True:
        answer = system.ask(holder, "generations.list", {"after": after})
        page = list(map(generation_from, answer["generations"]))
        yield page
        if len(page) < _AT_ONCE:
            return
        last = page[-1].generation_id
        if last <= after:
            raise WireError(f"system {holder} lists its generations without an end")
        after = last


def _learn(system: StorageSystem, holder: SystemId, told: Generation) -> None:
    """Take a row that the holder listed; it can tell only of what it holds of this system's."""
    if not _is_of(told, holder, system.system_id) or not told.is_complete:
        return
    try:
        known = system.state.catalogue.get(told.generation_id)
    except NotFoundError:
        _log.info("generation.learned generation=%s home=%s", told.generation_id, holder)
        system.state.catalogue.add(told)
    else:
        if known.home == holder:
            _take(system, known, told)


def _ended_in_turn(system: StorageSystem, holder: SystemId, most: int) -> list[GenerationId]:
    """Return the next of the copies that have ended: only the holder's forgetting is left."""
    asked = system.generations.asked_up_to
    after = asked.get(holder, GenerationId(""))
    found = system.state.catalogue.ended(holder, after=after, most=most)
    asked[holder] = found[-1] if len(found) == most else GenerationId("")
    return found


def _ask_about(system: StorageSystem, home: SystemId, ids: Sequence[GenerationId]) -> None:
    answer = system.ask(home, "generations.read", {"ids": list(ids)})
    told = {one.generation_id: one for one in map(generation_from, answer["generations"])}
    state = system.state
    with state.control:
        for generation_id in ids:
            try:
                known = state.catalogue.get(generation_id)
            except NotFoundError:
                continue  # somebody else has asked meanwhile
            if known.home == home:
                _take(system, known, told.get(generation_id))


def _take(system: StorageSystem, known: Generation, told: Generation | None) -> None:
    catalogue = system.state.catalogue
    if told is None:
        _log.info("generation.forgotten generation=%s home=%s", known.generation_id, known.home)
        if not known.pins:
            catalogue.remove(known.generation_id)
    elif told.home == known.home and (now := replace(told, pins=known.pins)) != known:
        catalogue.replace(now)


# --- the holder's side ----------------------------------------------------------------------------


def generation_verbs(system: StorageSystem) -> dict[str, Verb]:
    """Return the holder's commands: what it has of the asking system's volumes, no other's."""

    def read(peer: Peer, body: dict[str, Any]) -> dict[str, Any]:
        ids = body["ids"]
        if not isinstance(ids, list) or len(ids) > _AT_ONCE:
            raise InvalidArgumentError(f"generations are asked for by a list of ids, ≤ {_AT_ONCE}")
        found = _of_origin(system, peer.system_id, map(str, ids))
        return {"generations": [generation_to(one) for one in found]}

    def listed(peer: Peer, body: dict[str, Any]) -> dict[str, Any]:
        after = body["after"]
        if not isinstance(after, str):
            raise InvalidArgumentError("generations are listed after an id, or after nothing: ''")
        held = system.state.catalogue.held(system.system_id, {GenerationState.COMPLETE})
        found = sorted(
            (
                one
                for one in held
                if one.generation_id > after and _is_of(one, system.system_id, peer.system_id)
            ),
            key=lambda one: one.generation_id,
        )
        return {"generations": [generation_to(one) for one in found[:_AT_ONCE]]}

    return {"generations.read": read, "generations.list": listed}


def _of_origin(system: StorageSystem, origin: SystemId, ids: Iterable[str]) -> Iterable[Generation]:
    """Yield those that are held here and whose volumes are all the origin's; not the others."""
    for generation_id in ids:
        try:
            one = system.generation(generation_id)
        except NotFoundError:
            continue
        if _is_of(one, system.system_id, origin):
            yield one


def _is_of(generation: Generation, home: SystemId, origin: SystemId) -> bool:
    """Whether a system holds it, and all of its volumes are the origin's."""
    origins = {member.origin_system for member in generation.members}
    return generation.home == home and origins == {origin}
