"""A checker for `changes_since`: what two generations say of each other, against their bytes."""

from __future__ import annotations

from itertools import combinations

from pyrep.engine import StorageSystem
from pyrep.model import Generation, GenerationMember
from pyrep.testing.invariants import InvariantError
from pyrep.testing.sides import first_uncovered

__all__ = ["check_changes"]


def check_changes(*systems: StorageSystem) -> None:
    """Every chunk in which two generations of one volume differ is among their changes.

    Call it while nothing runs that could give one up. Digests are left out: they only narrow what
    the marks say, where these say everything.

    Raises:
        InvariantError: one isn't; `invariant` is `changes`.
    """
    for system in systems:
        held = [
            one
            for one in system.list_generations()
            if one.home == system.system_id and one.is_complete
        ]
        for one, other in combinations(held, 2):
            for member in one.members:
                theirs = next(
                    (each for each in other.members if each.source == member.source), None
                )
                if theirs is not None:
                    _check(system, (one, member), (other, theirs))


def _check(
    system: StorageSystem,
    one: tuple[Generation, GenerationMember],
    other: tuple[Generation, GenerationMember],
) -> None:
    (first, here), (second, there) = one, other
    state = system.state
    chunk_bytes = state.mirror(here.pair_id).row.chunk_bytes
    marks = system.changes.marks(first, second, here.source)
    stores = state.volume(here.svol).io, state.volume(there.svol).io
    index = first_uncovered(*stores, chunk_bytes, marks)
    if index is not None:
        raise InvariantError(
            "changes",
            f"generations {first.generation_id} and {second.generation_id} of volume "
            f"{here.source} differ where nothing is marked between them",
            chunk_index=index,
        )
