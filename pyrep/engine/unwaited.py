"""Work that nobody waits for: what it raises is logged, and its thread goes on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from pyrep.errors import PyrepError

__all__ = ["logging_errors"]


@contextlib.contextmanager
def logging_errors(log: logging.Logger, what: str) -> Iterator[None]:
    """Log what the block raises: an error of pyrep's as news, another one with its traceback."""
    try:
        yield
    except PyrepError as error:
        log.info("%s: %s", what, error)
    except Exception:
        log.exception("%s failed", what)
