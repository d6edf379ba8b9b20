"""What the daemon writes to standard error: text for people, or a JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from pyrep.daemon.settings import LogSettings

__all__ = ["set_up_log"]


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told)


def set_up_log(settings: LogSettings) -> None:
    """Send what is logged to standard error, from a level on."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(_Json() if settings.format == "json" else text)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
