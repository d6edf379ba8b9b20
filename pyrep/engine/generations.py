"""Generations at work: recording splits, giving up, pinning, looking (INV-4)."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pyrep._core import OverlayIo
from pyrep.engine.mirror import Mirror
from pyrep.engine.state import SystemState
from pyrep.errors import NotFoundError, RefusedError
from pyrep.model import (
    Generation,
    GenerationCause,
    GenerationId,
    GenerationMember,
    GenerationState,
    VolumeId,
)

__all__ = ["GENERATION_PIN_VIEW", "Generations"]

GENERATION_PIN_VIEW = "view-"
"""Pins of views begin so: they end with the process, and are cleared at open."""


class Generations:
    """The generations whose SVOLs this system holds, and its copies of others' rows."""

    def __init__(self, state: SystemState) -> None:
        self._state = state

    def new_id(self) -> GenerationId:
        """Return an id that isn't used: the time and some random letters."""
        now = datetime.now(UTC)
        return GenerationId(f"g{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}")

    def members_of(self, svols: Sequence[Mirror]) -> tuple[GenerationMember, ...]:
        """Return the members that a split of these local pairs (SVOL rows) makes."""
        state = self._state
        members = []
        for one in svols:
            source = one.row.mirror_volume_id
            remote = state.remote_mirror(source)
            members.append(
                GenerationMember(
                    source=source,
                    origin_system=remote.row.pair_system_id if remote else state.system_id,
                    origin_volume=remote.row.mirror_volume_id if remote else source,
                    svol=one.row.volume_id,
                    pair_id=one.row.pair_id,
                )
            )
        return tuple(members)

    def intend(
        self,
        svols: Sequence[Mirror],
        *,
        cause: GenerationCause,
        label: str = "",
        attempt_id: str = "",
        generation_id: GenerationId | None = None,
    ) -> Generation:
        """Write the row of a generation that is about to be taken: durable before the split."""
        generation = Generation(
            generation_id=generation_id or self.new_id(),
            attempt_id=attempt_id or secrets.token_hex(8),
            label=label,
            cause=cause,
            state=GenerationState.TAKING,
            taken_at=datetime.now(UTC),
            home=self._state.system_id,
            members=self.members_of(svols),
        )
        self._state.catalogue.add(generation)
        return generation

    def change(self, generation_id: GenerationId, **columns: object) -> Generation:
        """Change columns of a generation's row, durably."""
        with self._state.control:
            new = replace(self.get(generation_id), **columns)  # type: ignore[arg-type]
            self._state.catalogue.replace(new)
            return new

    def get(self, generation_id: GenerationId) -> Generation:
        """Return a generation. NotFoundError: none of this id."""
        return self._state.catalogue.get(generation_id)

    def on_svol(self, svol: VolumeId) -> Generation | None:
        """Return the generation that this SVOL holds, if any."""
        held = self._state.held_generation(svol)
        return self.get(GenerationId(held)) if held else None

    def check_may_give_up(self, svol: VolumeId, doing: str) -> Generation | None:
        """Return the generation that ends when this SVOL is overwritten, if that is allowed.

        Raises:
            RefusedError: it is pinned or protected.
        """
        generation = self.on_svol(svol)
        if generation is None:
            return None
        if generation.pins:
            raise RefusedError(
                f"cannot {doing}: generation {generation.generation_id} on volume {svol} is in "
                f"use by {', '.join(generation.pins)}",
                hint="close the view or end the workflow that uses it",
            )
        if generation.protected:
            raise RefusedError(
                f"cannot {doing}: generation {generation.generation_id} on volume {svol} is "
                f"protected",
                hint="unprotect the generation first",
            )
        return generation

    def give_up(self, generation: Generation | None, svol: VolumeId) -> None:
        """Say that a generation's content is no longer kept on this SVOL.

        The generation ends with it, unless it has another SVOL of the same volume, as one of cause
        protect may: then that one keeps it. Call it inside the transaction that lets the SVOL be
        written.
        """
        if generation is None:
            return
        left = generation.without(svol)
        if left is None:
            self.change(generation.generation_id, state=GenerationState.GIVEN_UP)
        else:
            self.change(generation.generation_id, members=left)

    @contextlib.contextmanager
    def view(self, generation_id: GenerationId, source: VolumeId) -> Iterator[OverlayIo]:
        """Look at one volume of a generation through a copy-on-write view; it is pinned meanwhile.

        Args:
            generation_id: which generation; it must be complete.
            source: its member, by the volume at home or by the origin's volume id.

        Raises:
            NotFoundError, RefusedError.
        """
        state = self._state
        holder = f"{GENERATION_PIN_VIEW}{threading.get_ident()}-{secrets.token_hex(4)}"
        with state.control:  # it may not be given up between the look and the pin
            state.check_open()
            generation = self.get(generation_id)
            if not generation.is_complete:
                raise RefusedError(
                    f"cannot look at generation {generation_id}: it is {generation.state}",
                    hint="use a complete generation",
                )
            member = self.member(generation, source)
            state.catalogue.pin(generation_id, holder)
        try:
            with OverlayIo(state.volume(member.svol).io) as overlay:
                yield overlay
        finally:
            state.catalogue.unpin(generation_id, holder)

    def member(self, generation: Generation, source: VolumeId) -> GenerationMember:
        """Return a generation's member. NotFoundError names those it has."""
        for member in generation.members:
            if source in {member.source, member.origin_volume}:
                return member
        known = ", ".join(sorted(member.source for member in generation.members))
        raise NotFoundError(
            f"generation {generation.generation_id} has no volume {source}",
            hint=f"its volumes: {known}",
        )
