"""Who asked for an operation that may wait: what is told to them, and whether they gave up."""

from __future__ import annotations

from pyrep.engine.cancel import Cancel, Progress, ProgressCallback

__all__ = ["Caller"]


class Caller:
    """The one for whom an operation waits.

    Args:
        doing: the operation, as the message of a cancelled one begins.
        progress: told what it waits for.
        cancel: ends it, until `past` was called.
    """

    def __init__(
        self,
        doing: str = "",
        *,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self._doing = doing
        self._progress = progress
        self._cancel = cancel
        self._final = ""

    def tell(self, what: str, *, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """Tell what is going on."""
        if self._progress:
            self._progress(
                Progress(
                    what=what, done_bytes=done_bytes, total_bytes=total_bytes, final=self._final
                )
            )

    def check(self) -> None:
        """Raise CancelledError if they gave up, and that still can be done."""
        if self._cancel and not self._final:
            self._cancel.check(self._doing)

    def past(self, why: str) -> None:
        """From here on the operation goes to its end: whatever is told says why.

        Raises:
            CancelledError: they gave up before.
        """
        self.check()
        self._final = why
