"""Two network namespaces with a wide-area network between them, where the machine allows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from conftest import MACHINE
from system import wan_relay

__all__ = ["Wan"]

_RELAY = Path(wan_relay.__file__)


class Wan:
    """The network. A context manager; skips the test, with the reason, where it can't be made."""

    address_a, address_b = wan_relay.ADDRESSES

    def __init__(self) -> None:
        self._relay: subprocess.Popen[str] | None = None
        self._pids: list[int] = []

    def __enter__(self) -> Self:
        command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, str(_RELAY)]
        self._relay = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._relay.stdout is not None
        line = self._relay.stdout.readline()
        if not line:
            assert self._relay.stderr is not None
            why = self._relay.stderr.read().strip().splitlines()
            self.close()
            pytest.skip(f"{MACHINE}network namespaces with a tun device: {why[-1:]}")
        self._pids = json.loads(line)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; the namespaces go with the last process in them. Idempotent."""
        relay, self._relay = self._relay, None
        if relay is None:
            return
        for stream in (relay.stdin, relay.stdout, relay.stderr):
            if stream is not None:
                stream.close()
        relay.wait(30)

    def prefix(self, side: int) -> tuple[str, ...]:
        """Return what runs a command at side 0 or 1."""
        of = ("--target", str(self._pids[side]))
        return ("nsenter", "--preserve-credentials", "--user", "--net", *of)

    def set(self, **rule: float) -> None:
        """Change it: delay and jitter in seconds, loss from 0 to 1 (1: cut)."""
        assert self._relay is not None
        assert self._relay.stdin is not None
        for name, value in rule.items():
            self._relay.stdin.write(f"{name} {value}\n")
        self._relay.stdin.flush()
