"""A configuration that is read again while its system is served (SIGHUP)."""

from __future__ import annotations

import logging
from pathlib import Path

from pyrep.daemon.config import Config, read_config
from pyrep.daemon.logs import set_up_log
from pyrep.interconnect import Security, Tls

__all__ = ["Rereading"]

_log = logging.getLogger(__name__)

_TAKEN_OVER = {"log"}


class Rereading:
    """Takes over what can change while a system is open: denied systems and the log.

    Args:
        directory: the system's.
        config: as it was read when the system was opened.
        security: how its paths are protected, by the configuration or by who came before it.
    """

    def __init__(self, directory: Path, config: Config, security: Security | None) -> None:
        self._directory = directory
        self._config = config
        self._security = security

    def __call__(self) -> None:
        """Read the file again.

        Raises:
            PyrepError: it can't be used; nothing has changed.
        """
        old = self._config
        if old.file is None:
            return
        is_protected = self._security is not old.security
        new = read_config(self._directory, old.file, is_protected=is_protected)
        if isinstance(self._security, Tls):
            self._security.denied = new.denied
        set_up_log(new.log)
        for name in sorted({*old.tables, *new.tables} - _TAKEN_OVER):
            if old.tables.get(name) != new.tables.get(name):
                _log.warning(
                    "serve.reload [%s] has changed: all but the denied systems waits for a restart",
                    name,
                )
