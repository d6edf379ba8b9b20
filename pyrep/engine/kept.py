"""Generations as embedders work with them: marks of the user, digests, verifying, comparing."""

from __future__ import annotations

from collections.abc import Mapping

from pyroaring import BitMap

from pyrep.engine.bitcodec import to_pyroaring
from pyrep.engine.cancel import Cancel, ProgressCallback
from pyrep.engine.changes import Changes, Difference
from pyrep.engine.digester import Digester
from pyrep.engine.generations import Generations
from pyrep.engine.verify import Verifier, VerifyResult
from pyrep.model import Generation, GenerationId, VolumeId

__all__ = ["KeptGeneration"]


class KeptGeneration:
    """A generation of an open system's catalogue.

    What it says of itself is `record`; everything that changes it is durable on return. May be used
    from any thread. A copy of another system's row can be read, but not changed.
    """

    def __init__(
        self,
        generation_id: GenerationId,
        generations: Generations,
        changes: Changes,
        digester: Digester,
        verifier: Verifier,
    ) -> None:
        self._generation_id = generation_id
        self._generations = generations
        self._changes = changes
        self._digester = digester
        self._verifier = verifier

    def __repr__(self) -> str:
        return f"<KeptGeneration {self._generation_id}>"

    @property
    def generation_id(self) -> GenerationId:
        """Its id."""
        return self._generation_id

    @property
    def record(self) -> Generation:
        """Its row of the catalogue, at this moment."""
        return self._generations.get(self._generation_id)

    # --- marks of the user -----------------------------------------------------------------------

    def protect(self) -> Generation:
        """Keep it from being given up until it is unprotected.

        Raises:
            RefusedError: its content is gone, or another system holds it.
        """
        return self._generations.protect(self._generation_id)

    def unprotect(self) -> Generation:
        """Let it be given up again. Raises as `protect`."""
        return self._generations.unprotect(self._generation_id)

    def pin(self, holder: str) -> Generation:
        """Keep it while `holder` uses it, also over a restart; the same holder counts once.

        Raises:
            RefusedError: as `protect`. InvalidArgumentError: the name is one of the system's own.
        """
        return self._generations.pin(self._generation_id, holder)

    def unpin(self, holder: str) -> Generation:
        """End a holder's pin.

        Raises:
            NotFoundError: it has none. RefusedError, InvalidArgumentError: as `pin`.
        """
        return self._generations.unpin(self._generation_id, holder)

    def rename(self, label: str) -> Generation:
        """Give it another label. Raises as `protect`."""
        return self._generations.rename(self._generation_id, label)

    def annotate(self, values: Mapping[str, str | None]) -> Generation:
        """Set annotations, or take away those whose value is None.

        Raises:
            RefusedError: as `protect`.
            InvalidArgumentError: a key can't be one (it is like an id).
            NotFoundError: one to be taken away isn't there; nothing has changed.
        """
        return self._generations.annotate(self._generation_id, values)

    # --- content ---------------------------------------------------------------------------------

    def digest(
        self,
        *,
        again: bool = False,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """Compute the digests that it lacks: XXH3-128 of each span of 1 MiB.

        Backups get theirs in the background (`Options.digests`). Only what may have changed since
        the generation before is read.

        Args:
            again: forget those that are kept, and read everything.
            progress, cancel: as of every long operation; what was computed is kept.

        Raises:
            RefusedError: it isn't complete, or another system holds it.
            CancelledError, DeviceError: some are missing; it may be called again.
        """
        self._digester.digest(self._generation_id, again=again, progress=progress, cancel=cancel)

    def verify(
        self,
        percentage: float = 100.0,
        *,
        seed: int | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> VerifyResult:
        """Read a share of its spans again and compare them with its digests.

        What is damaged stays so on its mirror, also when the generation is given up: a resync
        copies only what is pending. Dissolve that pair and create it anew.

        Args:
            percentage: of all spans of all of its volumes, chosen at random; above 0, at most 100.
            seed: makes the choice repeatable.
            progress, cancel: as of every long operation.

        Raises:
            RefusedError: it isn't complete, isn't held here, or has no digests.
            FormatError: the digests themselves are damaged.
            CancelledError, DeviceError: nothing is known.
        """
        return self._verifier.verify(
            self._generation_id, percentage, seed=seed, progress=progress, cancel=cancel
        )

    def changes_since(self, other: str, *, volume: str | None = None) -> BitMap:
        """Return the chunks in which it and another generation of one volume may differ.

        From what was marked between the two splits. Never too few; after an unclean end between
        them all chunks, narrowed down to spans that differ if both have digests.

        Args:
            other: the other generation's id, older or newer.
            volume: which volume, if they share several; by its id at either system.

        Raises:
            NotFoundError: there is no such generation or volume.
            RefusedError: one isn't complete or isn't held here, or they share no volume.
        """
        return to_pyroaring(self._between(other, volume).chunks)

    def extents_since(self, other: str, *, volume: str | None = None) -> list[tuple[int, int]]:
        """Return the same as byte ranges (offset, length), ascending. Raises as `changes_since`."""
        return self._between(other, volume).extents()

    def _between(self, other: str, volume: str | None) -> Difference:
        name = VolumeId(volume) if volume else None
        return self._changes.between(self._generation_id, GenerationId(other), name)
