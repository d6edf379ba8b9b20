"""A configuration that is read again while its system is served (SIGHUP)."""

from __future__ import annotations

import logging
from pathlib import Path

from pyrep.daemon.config import Config, read_config
from pyrep.daemon.logs import set_up_log
from pyrep.interconnect import Tls

__all__ = ["Rereading"]

_log = logging.getLogger(__name__)

_TAKEN_OVER = {"log"}


class Rereading:
    """Takes over what can change while a system is open: denied systems and the log."""

    def __init__(self, directory: Path, config: Config) -> None:
        self._directory = directory
        self._config = config

    def __call__(self) -> None:
        """Read the file again.

        Raises:
            PyrepError: it can't be used; nothing has changed.
        """
        old = self._config
        if old.file is None:
            return
        new = read_config(self._directory, old.file)
        if isinstance(old.security, Tls) and isinstance(new.security, Tls):
            old.security.denied = new.security.denied
        set_up_log(new.log)
        for name in sorted({*old.tables, *new.tables} - _TAKEN_OVER):
            if old.tables.get(name) != new.tables.get(name):
                _log.warning(
                    "serve.reload [%s] has changed: all but the denied systems waits for a restart",
                    name,
                )
