"""docs/site-lost.md: its commands, run in their order against served systems that are lost."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pyrep.api import Client
from pyrep.model import MIB
from pyrep.testing import wait_until
from system.killing import free_port

PAGE = Path(__file__).resolve().parents[2] / "docs" / "site-lost.md"
LONG_S = 60.0

pytestmark = pytest.mark.timeout(300)  # some dozens of processes each
SIZE = 8 * MIB

CONFIG = """
[path.tls]
certificate = "SYSTEM.pem"
key = "SYSTEM.key"
authority = "authority.pem"
[path.timing]
retry_first_s = 0.05
retry_most_s = 0.2
[log]
level = "info"
[path]
"""


def _blocks(heading: str) -> list[str]:
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


class Sites:
    """What the page calls /srv: two systems with certificates, served; each can be lost."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.root = root
        self.said: list[str] = []
        self._stack = stack
        self._running: dict[str, subprocess.Popen[str]] = {}
        bin_directory = str(Path(sys.executable).parent)
        path = os.pathsep.join([bin_directory, os.environ["PATH"]])
        self._environment = {**os.environ, "PATH": path, "PYTHONUTF8": "1"}

    def build(self) -> None:
        """Mirror and back up 105a, then write more to it."""
        address = f"127.0.0.1:{free_port()}"
        self.run("pyrep pki init /srv/ca")
        for name, path in (
            ("100a", f"[peers.100b]\naddress = '{address}'\n"),
            ("100b", f"listen = '{address}'\n"),
        ):
            (self.root / "ca" / f"{name}.toml").write_text(CONFIG.replace("SYSTEM", name) + path)
            self.run(f"pyrep pki issue /srv/ca {name}; pyrep system create /srv/{name} {name}")
            for file in (f"{name}.pem", f"{name}.key", "authority.pem"):
                shutil.copy(self.root / "ca" / file, self.root / name / file)
            shutil.copy(self.root / "ca" / f"{name}.toml", self.root / name / "pyrep.toml")
        for name in ("100b", "100a"):
            self.serve(name)
        with self.client("100a") as a, self.client("100b") as b:
            a.create_volume("105a", SIZE)
            for name in ("105b", "106b", "107b"):
                b.create_volume(name, SIZE)
            a.wait_for_path("100b", timeout_s=LONG_S)
            a.wait_for_pair(a.finish(a.create_pair("105a", "105b", system_id="100b"))["pair_id"])
            for name in ("106b", "107b"):
                b.wait_for_pair(b.finish(b.create_pair("105b", name))["pair_id"])
        self.write("backed up", "100a", "105a")
        self.run("pyrep backup 105a --system /srv/100a")
        self.write("arrived", "100a", "105a")

    def client(self, name: str) -> Client:
        """Return a client of a system."""
        return Client.of_system(self.root / name)

    def write(self, text: str, name: str, volume: str) -> None:
        """Write all of a volume."""
        with self.client(name) as client:
            client.write(volume, text.ljust(16).encode() * (SIZE // 16), 0)

    def read(self, name: str, volume: str) -> str:
        """Return what is written all over a volume."""
        with self.client(name) as client:
            data = client.read(volume, SIZE, 0)
        assert data == data[:16] * (SIZE // 16)
        return data[:16].decode().rstrip()

    def serve(self, name: str) -> None:
        """Serve a system, as its unit would."""
        log = self._stack.enter_context((self.root / f"{name}.log").open("a"))
        running = self._stack.enter_context(
            subprocess.Popen(
                ["pyrep", "serve", str(self.root / name)],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        )
        self._stack.callback(running.kill)
        assert running.stdout is not None
        assert "is served at" in running.stdout.readline(), self.log(name)
        self._running[name] = running

    def restart(self, name: str) -> None:
        """End a system cleanly, and serve it again."""
        running = self._running.pop(name)
        running.terminate()
        assert running.wait(LONG_S) == 0
        self.serve(name)

    def lose(self, name: str) -> None:
        """Lose a machine: kill -9, and its disks are gone."""
        running = self._running.pop(name)
        running.kill()
        running.wait()
        (self.root / name).rename(self.root / f"lost-{name}")
        (other,) = self._running
        with self.client(other) as client:
            wait_until(lambda: not any(one["is_up"] for one in client.paths()))

    def log(self, name: str) -> str:
        """Return what a system has logged."""
        return (self.root / f"{name}.log").read_text()

    def run(self, script: str) -> None:
        """Run commands in a shell; `pyrep serve` goes on beside those that follow."""
        if served := re.fullmatch(r"pyrep serve /srv/(\w+)\n", script):
            self.serve(served[1])
            for client in map(self.client, self._running):
                with client:
                    wait_until(lambda client=client: any(one["is_up"] for one in client.paths()))  # type: ignore[misc]
            return
        done = subprocess.run(
            ["bash", "-c", f"set -e\n{script}".replace("/srv/", f"{self.root}/")],
            env=self._environment,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        self.said.append(done.stdout)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    with ExitStack() as stack:
        made = Sites(tmp_path, stack)
        made.build()
        yield made


def test_the_primary_is_lost_and_comes_home_with_what_the_hosts_wrote_meanwhile(
    sites: Sites,
) -> None:
    look, keep, make, serve, home, turn, restore = _blocks("The primary is lost")
    sites.lose("100a")
    sites.run(look)
    sites.run(keep)
    sites.write("written at 100b", "100b", "105b")
    sites.run(make)
    sites.run(serve)
    sites.run(home)
    assert "100a is lost" in sites.said[-1]
    assert sites.read("100a", "105a") == "written at 100b"
    sites.run(turn)
    with sites.client("100a") as a:
        (pair,) = a.pairs()
        assert (pair["pvol"], pair["svol"], pair["status"]) == ("105a", "100b:105b", "DUPLEX")
        kept = [one["label"] for one in a.generations()]
        assert kept == ["", "100a is lost"]
    sites.run(restore)
    assert sites.read("100a", "105a") == "backed up"
    with sites.client("100b") as b:
        (made,) = (one for one in b.generations() if one["label"] == "home again")
        assert made["state"] == "complete"


def test_the_secondary_is_lost_and_made_anew(sites: Sites) -> None:
    dissolve, serve, mirror = _blocks("The secondary is lost")
    sites.lose("100b")
    sites.write("hosts go on", "100a", "105a")
    sites.run(dissolve)
    sites.run(serve)
    sites.run(mirror)
    assert "no generations" in sites.said[-1]
    with sites.client("100b") as b:
        (made,) = b.generations()
        (member,) = made["members"]
    assert sites.read("100b", member["svol"]) == "hosts go on"


def test_everybodys_certificates_are_replaced_while_the_path_is_up(sites: Sites) -> None:
    (replace,) = _blocks("The certificates of both sites")
    sites.run(replace)
    for name in ("100a", "100b"):
        wait_until(lambda name=name: "serve.reload done" in sites.log(name))  # type: ignore[misc]
    assert "certificate until" in sites.said[-1]
    with sites.client("100a") as a:
        assert a.paths()[0]["is_up"]
        assert a.pairs()[0]["status"] == "DUPLEX"
    sites.restart("100a")  # the new handshake is by the new authority alone
    with sites.client("100a") as a:
        a.wait_for_path("100b", timeout_s=LONG_S)
