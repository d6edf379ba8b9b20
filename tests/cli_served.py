"""Two systems, connected and served, and the program that talks to them."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner, Result

from pyrep import StorageSystem
from pyrep.api import SOCKET_NAME, ApiServer, JobTable, Site
from pyrep.cli import main
from pyrep.model import MIB

SIZE = 8 * MIB


@dataclass(frozen=True)
class Served:
    a: StorageSystem
    b: StorageSystem

    def run(self, system: str, *words: str, code: int = 0) -> Result:
        """Run a command at `a` or `b`."""
        directory = str(getattr(self, system).directory)
        done = CliRunner().invoke(main, [*words, "--system", directory])
        assert done.exit_code == code, (done.output, done.exception)
        return done

    def ask(self, system: str, *words: str) -> Any:
        """Run a command and return its last line of JSON."""
        return json.loads(self.run(system, *words, "--json").stdout.splitlines()[-1])


def serve(stack: ExitStack, system: StorageSystem) -> None:
    jobs = JobTable()
    site = Site(system=system, jobs=jobs)
    stack.enter_context(ApiServer(system.directory / SOCKET_NAME, site))
    stack.callback(jobs.close)
