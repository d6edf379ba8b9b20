"""Copies of other systems' catalogue rows, brought up to date by asking who holds them.

A backup leaves a copy of its generation's row at the primary. What becomes of the generation is the
holding system's: it may give the generation up, protect, rename or forget it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from pyrep.engine import StorageSystem
from pyrep.engine.peer import Peer
from pyrep.errors import InvalidArgumentError, NotFoundError, PyrepError
from pyrep.model import Generation, GenerationId, SystemId
from pyrep.workflows.codec import generation_from, generation_to

__all__ = ["read_verb", "refresh_generations"]

_log = logging.getLogger(__name__)

_AT_ONCE = 200
"""Rows in one question: its answer stays far below the bound of a command."""


def refresh_generations(
    system: StorageSystem, *, home: SystemId | None = None
) -> tuple[SystemId, ...]:
    """Ask the systems that hold generations of this one's volumes what became of them.

    Rows that a holder has forgotten are forgotten here, too.

    Args:
        system: the one whose copies are brought up to date.
        home: ask this holder alone; None: all of them.

    Returns:
        The holders that couldn't be asked, since the path to them is down or they refused: of
        theirs, what was last heard stays.
    """
    by_home: dict[SystemId, list[GenerationId]] = {}
    for one in system.list_generations():
        if one.home != system.system_id and home in {None, one.home}:
            by_home.setdefault(one.home, []).append(one.generation_id)
    unheard = []
    for holder, ids in by_home.items():
        try:
            for at in range(0, len(ids), _AT_ONCE):
                _refresh(system, holder, ids[at : at + _AT_ONCE])
        except PyrepError as error:
            _log.info("generation.copies home=%s not asked: %s", holder, error)
            unheard.append(holder)
    return tuple(unheard)


def _refresh(system: StorageSystem, home: SystemId, ids: Sequence[GenerationId]) -> None:
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


def read_verb(
    system: StorageSystem,
) -> Callable[[Peer, dict[str, Any]], dict[str, Any]]:
    """Return the command's holder's side: rows of generations of the asking system's volumes."""

    def read(peer: Peer, body: dict[str, Any]) -> dict[str, Any]:
        ids = body["ids"]
        if not isinstance(ids, list) or len(ids) > _AT_ONCE:
            raise InvalidArgumentError(f"generations are asked for by a list of ids, ≤ {_AT_ONCE}")
        found = _of_origin(system, peer.system_id, map(str, ids))
        return {"generations": [generation_to(one) for one in found]}

    return read


def _of_origin(system: StorageSystem, origin: SystemId, ids: Iterable[str]) -> Iterable[Generation]:
    """Yield those that are held here and whose volumes are all the origin's; not the others."""
    for generation_id in ids:
        try:
            one = system.generation(generation_id)
        except NotFoundError:
            continue
        origins = {member.origin_system for member in one.members}
        if one.home == system.system_id and origins == {origin}:
            yield one
