"""Workflows killed at each of their durable effects, at either system, and what ends them.

A system is ended right before one of its fsyncs (`crash/faults.c`), started again, and the workflow
resumed or abandoned. `PYREP_STEP_KILLS` (2 per workflow and side) is how many of the effects are
tried, `0` all; `PYREP_KILL_SEED` which ones; `PYREP_STEP_PLACE` one alone, by its number.
"""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from crash.faults import Call, Faults, build_faults
from pyrep.api import Client
from pyrep.cli import main
from pyrep.errors import FencedError, PyrepError, RefusedError, WorkflowError
from pyrep.testing import wait_until
from system.killing import LONG_S, SIDES, Served, environment_count
from unit.fs.images import run as run_tool

KILLS = environment_count("PYREP_STEP_KILLS", 2)
SEED = environment_count("PYREP_KILL_SEED", 1)
PLACE = environment_count("PYREP_STEP_PLACE", -1)
MIB = 1 << 20
SIZE = 4 * MIB
ENDED = {"done", "abandoned"}
VERBS = ("stop", "unmount", "mount", "recover", "start")

pytestmark = pytest.mark.skipif(shutil.which("mke2fs") is None, reason="needs e2fsprogs")


class Host:
    """What runs on 110a: commands that note what they were asked, and fail on demand."""

    def __init__(self, base: Path) -> None:
        self._log = base / "host.log"
        self._fails = base / "host.fails"
        self._log.write_text("start\n")
        self._mounted = base / "host.mounted"
        self._mounted.mkdir()
        self._effects = {  # they fail when it is so already, as mount and umount do: hence the look
            "unmount": f"[ ! -e {self._mounted} ] || rmdir {self._mounted}",
            "mount": f"[ -e {self._mounted} ] || mkdir {self._mounted}",
            "recover": f"[ -e {self._mounted} ]",
            "start": f"[ -e {self._mounted} ]",
        }

    def config(self) -> str:
        """Return the commands as `pyrep.toml` has them."""
        lines = ["[hosts.105a]"]
        for verb in VERBS:
            script = (
                f"if [ -e {self._fails}.{verb} ]; then "
                f"  how=$(cat {self._fails}.{verb}); rm {self._fails}.{verb}; eval $how; fi; "
                f"{{ {self._effects.get(verb, ':')}; }} && echo {verb} >> {self._log}"
            )
            lines.append(f'{verb} = ["sh", "-c", "{script}"]')
        return "\n".join(lines)

    def fail(self, verb: str, how: str) -> None:
        """Let a command do something else once."""
        Path(f"{self._fails}.{verb}").write_text(how)

    @property
    def is_up(self) -> bool:
        """Whether the application runs on a mounted volume."""
        return self._mounted.exists() and self._log.read_text().splitlines()[-1] == "start"


class Sites:
    """100a: 105a with a file system and its host; 100b: 105b, and 106b, 107b for generations."""

    def __init__(self, base: Path) -> None:
        library = build_faults(base)
        self.host = Host(base)
        self.faults = {side: Faults(library, base / f"{side}.rule") for side in SIDES}
        common = "[path.timing]\nretry_first_s = 0.05\nretry_most_s = 0.2\n"
        common += "[engine]\nhold_max_ms = 20000.0\n"
        self.served = Served(
            base,
            {"100a": {"105a": SIZE}, "100b": dict.fromkeys(("105b", "106b", "107b"), SIZE)},
            environment={side: one.environment for side, one in self.faults.items()},
            config={"100a": common + self.host.config(), "100b": common},
        )
        self.images = [self._image(base, number) for number in range(2)]
        for side in reversed(SIDES):
            self.served.start(side)
        self.seen: set[str] = set()
        self._make()

    @staticmethod
    def _image(base: Path, number: int) -> bytes:
        """Make a file system; the two differ in what /docs/file holds."""
        tree = base / f"tree{number}" / "docs"
        tree.mkdir(parents=True)
        (tree / "file").write_bytes(bytes([65 + number]) * 8000)
        (tree / "other").write_bytes(b"the same in both" * 100)
        path = base / f"image{number}"
        uuid = [
            "-U",
            "6d1d8a2e-0000-4000-8000-000000000001",
            "-E",
            "hash_seed=" + "0" * 8 + "-0000-4000-8000-" + "0" * 12,
        ]
        run_tool("mke2fs", "-q", "-t", "ext2", *uuid, "-d", tree.parent, path, "4M")
        return path.read_bytes()

    def _make(self) -> None:
        with self.client("100a") as a, self.client("100b") as b:
            a.write("105a", self.images[0], 0)
            a.wait_for_path("100b", timeout_s=LONG_S)
            pair = a.finish(a.create_pair("105a", "105b", system_id="100b"))
            self.remote = str(pair["pair_id"])
            a.wait_for_pair(self.remote, timeout_s=LONG_S)
            for svol in ("106b", "107b"):
                local = b.finish(b.create_pair("105b", svol))
                b.wait_for_pair(local["pair_id"], timeout_s=LONG_S)
            report = a.finish(a.backup(["105a"], label="wanted"), timeout_s=LONG_S)
            self.wanted = str(report["generations"][0]["generation_id"])
            b.protect(self.wanted)
        assert self.end("100a", random.Random(SEED)) == "done"

    @contextlib.contextmanager
    def client(self, side: str) -> Iterator[Client]:
        with self.served.client(side) as client:
            yield client

    def workflows(self, side: str) -> list[dict[str, Any]]:
        """Return those that haven't ended; what another system leads isn't one of this side's."""
        with self.client(side) as client:
            return [
                one
                for one in client.workflows()
                if one["state"] not in ENDED and not one["request"].get("led_elsewhere")
            ]

    def is_fenced(self) -> bool:
        """Whether a host's write to 105a is refused: of what is there already."""
        data = self.served.stored("100a", "105a")[-512:]
        with self.client("100a") as a:
            try:
                a.write("105a", data, SIZE - 512)
            except FencedError:
                return True
        return False

    def fence_noted(self) -> bool:
        """Whether the journal of 100a says that 105a is fenced."""
        with self.client("100a") as a:
            return any(
                one["progress"].get("fenced") == "105a"
                for one in a.workflows()
                if one["state"] not in ENDED
            )

    def settle(self) -> None:
        """Wait until the path is up at both sides, and the remote pair is where it stays."""
        for side, other in (("100a", "100b"), ("100b", "100a")):
            with self.client(side) as client:
                client.wait_for_path(other, timeout_s=LONG_S)

    def end(self, side: str, draw: random.Random) -> str:
        """Resume or abandon what is stopped; return how the workflow ended that began last.

        "abandoned" if none did: it was killed before the first thing it writes down.
        """
        for record in self.workflows(side):
            wait_until(
                lambda record=record: (
                    record["workflow_id"]  # type: ignore[misc]
                    in {
                        one["workflow_id"]
                        for one in self.workflows(side)
                        if one["state"] == "stopped"
                    }
                ),
                timeout_s=LONG_S,
            )
            assert record["workflow_id"] in self._say(side, "list").output
            ways = draw.sample(["resume", "abandon"], 2)
            self._end_one(side, record["workflow_id"], ways)
        with self.client(side) as client:
            began = [one for one in client.workflows() if one["workflow_id"] not in self.seen]
        self.seen |= {one["workflow_id"] for one in began}
        assert len(began) <= 1
        return str(began[0]["state"]) if began else "abandoned"

    def _end_one(self, side: str, workflow_id: str, ways: list[str]) -> None:
        first = self._say(side, ways[0], workflow_id)
        if first.exit_code == 0:
            return
        assert first.exit_code in {RefusedError.exit_code, WorkflowError.exit_code}, first.output
        if all(one["workflow_id"] != workflow_id for one in self.workflows(side)):
            return  # a refusal that has undone everything, and says so
        second = self._say(side, ways[1], workflow_id)
        assert second.exit_code == 0, (ways, first.output, second.output)

    def _say(self, side: str, *words: str) -> Result:
        """Run `pyrep workflow`."""
        words = ("workflow", *words, "--system", str(self.served.base / side))
        return CliRunner().invoke(main, words, env={"COLUMNS": "200"})

    def check_at_rest(self) -> None:
        """No workflow, lease, fence or stopped application is left; the remote mirror is DUPLEX."""
        for side in SIDES:
            assert self.workflows(side) == []
            with self.client(side) as client:
                assert {one["state"] for one in client.workflows()} <= ENDED
        self.served.wait_duplex(self.remote)
        assert not self.is_fenced()
        assert self.host.is_up
        with self.client("100b") as b:
            pins = {pin for one in b.generations() for pin in one["pins"]}
        assert not any(pin.startswith("w") for pin in pins), pins

    def close(self) -> None:
        self.served.close()


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    made = Sites(tmp_path_factory.mktemp("steps"))
    yield made
    made.close()


class Backup:
    """Fig. 4, led by 100a."""

    leader = "100a"

    def __init__(self, sites: Sites) -> None:
        self.sites = sites
        self.label = ""
        self._count = 0

    def prepare(self) -> None:
        self._count += 1
        self.label = f"backup {self._count}"
        with self.sites.client("100a") as a:
            a.write("105a", self._count.to_bytes(8, "little") * 64, SIZE - 1024)

    def run(self, client: Client) -> None:
        client.finish(client.backup(["105a"], label=self.label, reuse_last=True), timeout_s=LONG_S)

    def check(self, state: str) -> None:
        """A generation is complete if the workflow is done, and holds what it was to hold."""
        with self.sites.client("100b") as b:
            mine = [one for one in b.generations() if one["label"] == self.label]
        complete = [one for one in mine if one["state"] == "complete"]
        assert {one["state"] for one in mine} <= {"complete", "failed", "given_up"}, mine
        if state == "done":
            assert len(complete) == 1, mine
            data = self.sites.served.stored("100b", complete[0]["members"][0]["svol"])
            assert data == self.sites.served.stored("100a", "105a")


class Restore:
    """Fig. 5 or 6, led by 100b."""

    leader = "100b"

    def __init__(self, sites: Sites, *paths: str) -> None:
        self.sites = sites
        self.paths = paths
        self._before = b""

    def prepare(self) -> None:
        """The host writes the other image: the file differs from what the generation has."""
        with self.sites.client("100a") as a:
            a.write("105a", self.sites.images[1], 0)
            a.flush("105a")
        self._before = self.sites.served.stored("100a", "105a")

    def run(self, client: Client) -> None:
        job = client.restore(self.sites.wanted, "105a", self.paths, whole=not self.paths or None)
        client.finish(job, timeout_s=LONG_S)

    def check(self, state: str) -> None:
        now = self.sites.served.stored("100a", "105a")
        with self.sites.client("100b") as b:
            assert b.read("105b", SIZE, 0) == now
        if state == "abandoned":
            assert now == self._before
        elif self.paths:
            assert b"A" * 8000 in now
            assert b"B" * 1024 not in now
        else:
            assert now[: SIZE - 4096] == self.sites.images[0][: SIZE - 4096]


WORKFLOWS: dict[str, Callable[[Sites], Backup | Restore]] = {
    "backup": Backup,
    "restore of files": lambda sites: Restore(sites, "/docs/file"),
    "restore of a volume, then its recovery": Restore,
}


def _perform(sites: Sites, work: Backup | Restore) -> None:
    with contextlib.suppress(PyrepError, OSError), sites.client(work.leader) as client:
        work.run(client)


def _effects(sites: Sites, work: Backup | Restore, side: str) -> int:
    """Run it once without a mishap; return how many effects it has at a side."""
    work.prepare()
    sites.faults[side].count(f"*/{side}/*", calls=Call.SYNC)
    with sites.client(work.leader) as client:
        work.run(client)
    count = sites.faults[side].hits
    sites.faults[side].clear()
    assert sites.end(work.leader, random.Random(SEED)) == "done"
    sites.check_at_rest()
    work.check("done")
    return count


def _killed(sites: Sites, side: str) -> None:
    """Start a side again, which the rule has ended, or not if the workflow had fewer effects."""
    sites.faults[side].clear()
    sites.served.kill(side)
    sites.served.start(side)
    sites.settle()


def _finish(sites: Sites, work: Backup | Restore, draw: random.Random) -> None:
    assert sites.is_fenced() == sites.fence_noted()
    # An application that is down is named: by a workflow that hasn't ended.
    assert sites.host.is_up or sites.workflows(work.leader)
    state = sites.end(work.leader, draw)
    sites.check_at_rest()
    work.check(state)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_that_is_killed_at_any_durable_effect_is_ended_by_its_users(
    sites: Sites, name: str, side: str
) -> None:
    work = WORKFLOWS[name](sites)
    draw = random.Random(f"{SEED} {name} {side}")
    count = _effects(sites, work, side)
    places = range(count) if not KILLS else sorted(draw.sample(range(count), min(KILLS, count)))
    if PLACE >= 0:
        places = [PLACE]
    for place in places:
        work.prepare()
        sites.faults[side].kill_at(place, f"*/{side}/*")
        _perform(sites, work)
        _killed(sites, side)
        try:
            _finish(sites, work, draw)
        except (AssertionError, PyrepError) as error:
            raise AssertionError(
                f"{name}, killed at {place} of {count} of {side}: {error!r}"
            ) from error


@pytest.mark.timeout(0)
@pytest.mark.parametrize("how", ["kill -9 $$", "kill -9 $PPID"], ids=["the command", "the system"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_host_command_or_the_system_that_runs_it_is_killed_and_the_restore_is_ended(
    sites: Sites, verb: str, how: str
) -> None:
    work = Restore(sites)
    work.prepare()
    sites.host.fail(verb, how)
    _perform(sites, work)
    if "PPID" in how:
        _killed(sites, "100a")
    _finish(sites, work, random.Random(f"{SEED} {verb} {how}"))
