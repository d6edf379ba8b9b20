"""A system in a process of its own, asked over a socket; and that process: DIRECTORY SOCKET."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from crash import acts
from crash.workload import Here
from pyrep.errors import PyrepError


class GoneError(Exception):
    """The process has ended."""


class FarError(Exception):
    """What was asked for failed there."""


class Far:
    """The system as its workload sees it. Each thread has a connection of its own."""

    def __init__(self, address: Path) -> None:
        self._address = address
        self._mine = threading.local()

    def open(self) -> None:
        self._ask("open")

    def close(self) -> None:
        self._ask("close")

    def abort(self) -> None:
        self._ask("abort")

    def do(self, act: Callable[..., Any], *args: object) -> Any:
        return self._ask(act.__name__, *args)

    def _ask(self, name: str, *args: object) -> Any:
        try:
            if not hasattr(self._mine, "connection"):
                self._mine.connection = Client(str(self._address), "AF_UNIX")
            self._mine.connection.send((name, args))
            is_done, answer = self._mine.connection.recv()
        except (EOFError, OSError) as error:
            raise GoneError(f"{name}: {error!r}") from error
        if not is_done:
            raise FarError(f"{name}: {answer}")
        return answer


def _serve(here: Here, connection: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            name, args = connection.recv()
            try:
                if name in {"open", "close", "abort"}:
                    answer = getattr(here, name)()
                else:
                    answer = here.do(getattr(acts, name), *args)
            except (PyrepError, LookupError) as error:
                connection.send((False, repr(error)))
            else:
                connection.send((True, answer))


def main() -> None:
    """Serve until killed."""
    here = Here(Path(sys.argv[1]))
    with Listener(sys.argv[2], "AF_UNIX") as listener:
        print(os.getpid(), flush=True)  # noqa: T201 (whoever started it waits for this)
        while True:
            connection = listener.accept()
            threading.Thread(target=_serve, args=(here, connection), daemon=True).start()


if __name__ == "__main__":
    main()
