"""Wake handles: what ends a wait from another thread."""

from __future__ import annotations

from pyrep._core.native import Owned, Pointer, check, ffi, lib

__all__ = [
    "Wake",
    "pointer_of",
]


class Wake(Owned):
    """Ends the waits that use it, from any thread."""

    def __init__(self) -> None:
        out = ffi.new("rep_wake **")
        check(lib.rep_wake_new(out), "making a wake handle")
        super().__init__(out[0], lib.rep_wake_free)

    def set(self) -> None:
        """End every wait that uses the handle, now and later."""
        lib.rep_wake_raise(self.pointer)

    def clear(self) -> None:
        """Lower it again."""
        lib.rep_wake_reset(self.pointer)

    def is_set(self) -> bool:
        """Whether it is raised."""
        return bool(lib.rep_wake_raised(self.pointer))


def pointer_of(wake: Wake | None) -> Pointer:
    """Return what a call wants for a handle that may be none."""
    return ffi.NULL if wake is None else wake.pointer
