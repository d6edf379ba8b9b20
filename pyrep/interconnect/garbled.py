"""Text that somebody else has chosen, made fit for one line of a log."""

from __future__ import annotations

__all__ = ["shown"]

_MOST_CHARACTERS = 300


def shown(text: object) -> str:
    """Return a text as one line, without control characters, cut where it gets long.

    Whoever dials in may say anything: a line feed in a name would write lines of its own into the
    log, an escape sequence would rule the terminal of who reads it.
    """
    said = str(text)
    short = said[:_MOST_CHARACTERS]
    line = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in short)
    return line + ("…" if len(said) > len(short) else "")
