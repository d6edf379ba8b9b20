"""Generations at work: recording splits, giving up, pinning, looking (INV-4)."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pyrep._core import OverlayIo
from pyrep.engine.mirror import Mirror
from pyrep.engine.state import SystemState
from pyrep.errors import InvalidArgumentError, NotFoundError, RefusedError
from pyrep.model import (
    Generation,
    GenerationCause,
    GenerationId,
    GenerationMember,
    GenerationState,
    SystemId,
    VolumeId,
    check_id,
)

__all__ = ["GENERATION_PIN_VIEW", "Generations"]

GENERATION_PIN_VIEW = "view-"
"""Pins of views begin so: they end with the process, and are cleared at open."""
_PIN_WORKFLOW = "workflow-"
"""Pins of workflows begin so: they end with the workflow."""


class Generations:
    """The generations whose SVOLs this system holds, and its copies of others' rows.

    Attributes:
        asked_up_to: of each other system, up to which of its generations that have ended it was
            asked last whether it has forgotten them.
    """

    def __init__(self, state: SystemState) -> None:
        self._state = state
        self.asked_up_to: dict[SystemId, GenerationId] = {}

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
            self.end(generation.generation_id)
        else:
            self.change(generation.generation_id, members=left)

    def end(self, generation_id: GenerationId) -> Generation:
        """Say that a generation's content is no longer kept, and forget its digests."""
        with self._state.db.transaction():
            self._state.digests.remove(generation_id)
            return self.change(
                generation_id, state=GenerationState.GIVEN_UP, given_up_at=datetime.now(UTC)
            )

    # --- the user's marks ------------------------------------------------------------------------

    def held_here(self, generation_id: GenerationId, doing: str) -> Generation:
        """Return a generation whose SVOLs this system holds.

        Raises:
            NotFoundError: there is none of this id.
            RefusedError: this is a copy of another system's row, or its content is gone.
        """
        generation = self.get(generation_id)
        if generation.home != self._state.system_id:
            raise RefusedError(
                f"cannot {doing} generation {generation_id} here: "
                f"system {generation.home} holds it",
                hint=f"do it at system {generation.home}",
            )
        if generation.state in {GenerationState.GIVEN_UP, GenerationState.FAILED}:
            raise RefusedError(
                f"cannot {doing} generation {generation_id}: it is {generation.state}",
                hint="choose one that is complete",
            )
        return generation

    def protect(self, generation_id: GenerationId) -> Generation:
        """Keep a generation from reuse and retention until it is unprotected."""
        with self._state.control:
            self.held_here(generation_id, "protect")
            return self.change(generation_id, protected=True)

    def unprotect(self, generation_id: GenerationId) -> Generation:
        """Let a generation be given up again."""
        with self._state.control:
            self.held_here(generation_id, "unprotect")
            return self.change(generation_id, protected=False)

    def rename(self, generation_id: GenerationId, label: str) -> Generation:
        """Give a generation another label; an empty one takes it away."""
        with self._state.control:
            self.held_here(generation_id, "rename")
            asked: object = label
            if not isinstance(asked, str):
                raise InvalidArgumentError(f"a generation can't be labelled {label!r}")
            return self.change(generation_id, label=label)

    def annotate(self, generation_id: GenerationId, values: Mapping[str, str | None]) -> Generation:
        """Set annotations, or take away those whose value is None.

        Raises:
            InvalidArgumentError: a key can't be one.
            NotFoundError: one to be taken away isn't there; nothing has changed.
        """
        with self._state.control:
            generation = self.held_here(generation_id, "annotate")
            annotations = dict(generation.annotations)
            for key, value in values.items():
                check_id("annotation", key)
                if value is not None:
                    annotations[key] = value
                elif annotations.pop(key, None) is None:
                    known = ", ".join(sorted(annotations)) or "none"
                    raise NotFoundError(
                        f"generation {generation_id} has no annotation {key}",
                        hint=f"its annotations: {known}",
                    )
            return self.change(generation_id, annotations=tuple(sorted(annotations.items())))

    def pin(self, generation_id: GenerationId, holder: str) -> Generation:
        """Keep a generation from being given up while `holder` uses it; also over a restart.

        Raises:
            InvalidArgumentError: the name is one of those that the system gives its own holders.
        """
        with self._state.control:
            self.held_here(generation_id, "pin")
            self._state.catalogue.pin(generation_id, _checked_holder(holder))
            return self.get(generation_id)

    def unpin(self, generation_id: GenerationId, holder: str) -> Generation:
        """End one holder's pin.

        Raises:
            NotFoundError: it has none; the hint names those there are.
            InvalidArgumentError: it is the system's own: a view or a workflow in use.
        """
        with self._state.control:
            generation = self.held_here(generation_id, "unpin")
            if _checked_holder(holder) not in generation.pins:
                raise NotFoundError(
                    f"generation {generation_id} isn't pinned by {holder}",
                    hint=f"its pins: {', '.join(generation.pins) or 'none'}",
                )
            self._state.catalogue.unpin(generation_id, holder)
            return self.get(generation_id)

    @contextlib.contextmanager
    def in_use(self, generation_id: GenerationId, doing: str) -> Iterator[Generation]:
        """Pin a complete generation while the block runs.

        Raises:
            NotFoundError: there is none of this id.
            RefusedError: it isn't held here, or isn't complete.
        """
        holder = f"{GENERATION_PIN_VIEW}{threading.get_ident()}-{secrets.token_hex(4)}"
        with self._state.control:  # it may not be given up between the look and the pin
            self._state.check_open()
            generation = self.held_here(generation_id, doing)
            if not generation.is_complete:
                raise RefusedError(
                    f"cannot {doing} generation {generation_id}: it is {generation.state}",
                    hint="use a complete generation",
                )
            self._state.catalogue.pin(generation_id, holder)
        try:
            yield generation
        finally:
            self._state.catalogue.unpin(generation_id, holder)

    # --- looking ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def view(self, generation_id: GenerationId, source: VolumeId) -> Iterator[OverlayIo]:
        """Look at one volume of a generation through a copy-on-write view; it is pinned meanwhile.

        Args:
            generation_id: which generation; it must be complete.
            source: its member, by the volume at home or by the origin's volume id.

        Raises:
            NotFoundError, RefusedError.
        """
        with self.in_use(generation_id, "look at") as generation:
            member = self.member(generation, source)
            with OverlayIo(self._state.volume(member.svol).io) as overlay:
                yield overlay

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


def _checked_holder(holder: str) -> str:
    """Return a pin's holder if it is one that users may name."""
    asked: object = holder
    own = isinstance(asked, str) and asked.startswith((GENERATION_PIN_VIEW, _PIN_WORKFLOW))
    if not isinstance(asked, str) or not asked or own:
        raise InvalidArgumentError(
            f"a pin can't be held by {holder!r}",
            hint=f"any name that doesn't begin with {GENERATION_PIN_VIEW} or {_PIN_WORKFLOW}",
        )
    return holder
