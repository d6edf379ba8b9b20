"""Cancellation and progress: what an embedder passes into a long operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyrep._core import Wake
from pyrep.errors import CancelledError

__all__ = ["Cancel", "Progress", "ProgressCallback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One report of a long operation.

    Attributes:
        what: what is going on, in the user's words.
        step: the patent's number of the step (Fig. 4, 5, 6), or None outside a workflow.
        done_bytes: bytes handled so far.
        total_bytes: bytes to handle, as known now; 0 when it isn't counted in bytes.
        rate_bytes_s: how fast it goes on, smoothed; None: not known (yet).
        eta_s: seconds left at this rate; None: nobody can tell.
        compared_bytes: of a copy, or a verification: bytes whose digests were compared.
        sent_bytes: of a copy: bytes sent as data so far: what is zero or equal isn't.
        final: why a cancel has no effect any more; empty: it has.
    """

    what: str
    step: int | None = None
    done_bytes: int = 0
    total_bytes: int = 0
    rate_bytes_s: float | None = None
    eta_s: float | None = None
    compared_bytes: int = 0
    sent_bytes: int = 0
    final: str = ""


ProgressCallback = Callable[[Progress], None]


class Cancel:
    """Ends an operation early, from any thread; the operation says what state it left."""

    def __init__(self) -> None:
        self._wake = Wake()

    def cancel(self) -> None:
        """Ask every operation that was given this object to stop."""
        self._wake.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked."""
        return self._wake.is_set()

    @property
    def wake(self) -> Wake:
        """The handle for waits in the core."""
        return self._wake

    def check(self, doing: str) -> None:
        """Raise CancelledError if somebody asked."""
        if self.is_cancelled:
            raise CancelledError(f"{doing}: cancelled")
