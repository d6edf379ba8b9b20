"""A disk below one of two served systems fails, is full, or takes less than was asked.

Every file of a system in turn: what the host is answered, what the pairs say and why, and that the
rest goes on; then, the disk whole again, with or without a `kill -9` in between, that the pairs are
DUPLEX and equal, and nothing acknowledged is lost.

With `PYREP_MEDIA_RUNS` above 1 each of them in every way, else in one way after the other.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crash.faults import Call, Faults
from pyrep.errors import DeviceError, MirrorLostError, NoSpaceError, PyrepError
from pyrep.testing import wait_until
from system.killing import LONG_S, SIDES, Served

BLOCK = 8192
REGION = 4 << 20
REGIONS = 24
SIZE = REGIONS * REGION
CONFIG = """
[path.timing]
retry_first_s = 0.05
retry_most_s = 0.2
[engine]
hot_regions = 16  # fewer than there are: every write of the test is a miss of the log
"""
EVERY = int(os.environ.get("PYREP_MEDIA_RUNS", "1")) > 1
OTHERS = ("108a", "108b")
"""A pair in a group of its own, that nothing happens to."""


class Sites:
    """Two served systems, each with a disk that can be made to fail.

    105a → 105b → 106b, and 108a → 108b.
    """

    def __init__(self, base: Path, library: Path, fence: str) -> None:
        self.fence = fence
        self.disks = {side: Faults(library, base / f"{side}.rule") for side in SIDES}
        volumes = {"100a": ("105a", "108a"), "100b": ("105b", "106b", "108b")}
        self.served = Served(
            base,
            {side: dict.fromkeys(names, SIZE) for side, names in volumes.items()},
            environment={side: one.environment for side, one in self.disks.items()},
            config=dict.fromkeys(SIDES, CONFIG),
        )
        self.acked: dict[int, bytes] = {}
        self._number = itertools.count(1)
        for side in reversed(SIDES):
            self.served.start(side)
        with self.served.client("100a") as a, self.served.client("100b") as b:
            a.wait_for_path("100b", timeout_s=LONG_S)
            made = [
                a.finish(
                    a.create_pair(
                        pvol, svol, system_id="100b", group=pvol, fence_level=fence, protect="off"
                    )
                )
                for pvol, svol in (("105a", "105b"), OTHERS)
            ]
            made.append(b.finish(b.create_pair("105b", "106b")))
            self.remote, self.other, self.local = (str(one["pair_id"]) for one in made)
            for client, pair_id in ((a, self.remote), (a, self.other), (b, self.local)):
                client.wait_for_pair(pair_id, timeout_s=LONG_S)

    def write(self, volume: str = "105a") -> PyrepError | None:
        """Write a block of the next region as a host; return what it is answered."""
        number = next(self._number)
        data = number.to_bytes(8, "little") * (BLOCK // 8)
        offset = number % REGIONS * REGION
        with self.served.client("100a") as a:
            try:
                a.write(volume, data, offset)
            except PyrepError as error:
                self.acked.pop(offset, None)  # it may be there, or not
                return error
        if volume == "105a":
            self.acked[offset] = data
        return None

    def state(self, side: str, pair_id: str) -> tuple[str, str | None]:
        """Return a pair's status and cause at a side."""
        with self.served.client(side) as client:
            told = client.pair(pair_id)
        return told["status"], told["cause"]

    def wait(self, side: str, pair_id: str, status: str, cause: str | None) -> None:
        try:
            wait_until(lambda: self.state(side, pair_id) == (status, cause), timeout_s=LONG_S)
        except PyrepError as error:
            raise AssertionError((side, pair_id, self.state(side, pair_id), cause)) from error

    def kill(self, side: str) -> None:
        """kill -9, and start it anew; the disk is whole again."""
        self.served.kill(side)
        self.disks[side].clear()
        self.served.start(side)

    def bring_home(self) -> None:
        """Resync what waits for that; then all is DUPLEX and equal, and nothing is lost."""
        self.write()
        for pair_id, side in ((self.remote, "100a"), (self.other, "100a"), (self.local, "100b")):
            self._resync(side, pair_id)
        for side, pair_id in itertools.product(SIDES, (self.remote, self.other)):
            self.wait(side, pair_id, "DUPLEX", None)
        assert self.write() is None
        # Whoever is told DUPLEX may rely on it: what broke is noticed when one asks.
        self._resync("100b", self.local)
        self._compare()

    def _resync(self, side: str, pair_id: str) -> None:
        why: list[object] = []

        def is_duplex() -> bool:
            with self.served.client(side) as client:
                told = client.pair(pair_id)
                if told["status"] == "SPLIT" and told["cause"] in {"device_error", "requested"}:
                    try:
                        client.resync_pair(pair_id)
                    except PyrepError as error:
                        why[:] = [error, told]
            return bool(told["status"] == "DUPLEX")

        try:
            wait_until(is_duplex, timeout_s=LONG_S)
        except PyrepError as error:
            raise AssertionError((pair_id, why)) from error

    def _compare(self) -> None:
        with self.served.client("100a") as a, self.served.client("100b") as b:
            a.flush("105a")
            for at in range(REGIONS):
                here = a.read("105a", BLOCK, at * REGION)
                assert b.read("105b", BLOCK, at * REGION) == here
                assert b.read("106b", BLOCK, at * REGION) == here, (at, b.pair(self.local))
                acked = self.acked.get(at * REGION)
                assert acked is None or here == acked, "an acknowledged write is lost"

    def close(self) -> None:
        self.served.close()


FENCES = ["never", "data"]


@pytest.fixture(scope="module")
def every_site() -> Iterator[dict[str, Sites]]:
    """Those that were made, by fence level: each test leaves them as it has found them.

    A parametrized fixture would be made anew for each case, be its parameter the same or not.
    """
    made: dict[str, Sites] = {}
    yield made
    for one in made.values():
        one.close()


@pytest.fixture
def sites(
    request: pytest.FixtureRequest,
    library: Path,
    every_site: dict[str, Sites],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Sites]:
    fence = str(request.param)
    victim = request.node.callspec.params.get("victim")
    if victim is not None and victim.host and fence in every_site:
        every_site.pop(fence).close()  # no row may have a mark that an earlier failure has left
    if fence not in every_site:
        every_site[fence] = Sites(tmp_path_factory.mktemp(fence), library, fence)
    failed = request.session.testsfailed
    yield every_site[fence]
    if request.session.testsfailed > failed:  # whatever that has left
        every_site.pop(fence).close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """Files of one side that fail together, and what is expected then.

    Attributes:
        host: who answers the host: nobody (the write is done), the device, or the fence level.
        remote, local: whether these pairs split.
        calls: what fails of them.
    """

    name: str
    side: str
    files: tuple[str, ...]
    host: str = ""
    remote: bool = False
    local: bool = False
    calls: Call = Call.WRITE | Call.SYNC | Call.SIZE

    def check_answer(self, answer: PyrepError | None, fence: str, code: int) -> None:
        if self.host == "device":
            assert type(answer) is (NoSpaceError if code == errno.ENOSPC else DeviceError), answer
        elif self.host == "fence" and fence == "data":
            assert type(answer) is MirrorLostError, answer
        else:
            assert answer is None, answer


METADATA = ("*/alog/*", "*/bitmaps/*")
VICTIMS = [
    Victim(name="105a", side="100a", files=("*/105a.img",), host="device", remote=True),
    Victim(name="105b", side="100b", files=("*/105b.img",), host="fence", remote=True, local=True),
    # The barrier's, or the log's: what the host wrote has been received by then.
    Victim(
        name="flushes of 105b",
        side="100b",
        files=("*/105b.img",),
        calls=Call.SYNC,
        remote=True,
        local=True,
    ),
    Victim(name="106b", side="100b", files=("*/106b.img",), local=True),
    Victim(name="log", side="100a", files=("*/alog/*",)),
    Victim(name="log at 100b", side="100b", files=("*/alog/*",)),
    Victim(name="bitmaps", side="100a", files=("*/bitmaps/*",)),
    Victim(name="bitmaps at 100b", side="100b", files=("*/bitmaps/*",)),
    # Nothing can be noted durably, so nothing may be written (INV-2).
    Victim(name="log and bitmaps", side="100a", files=METADATA, host="device"),
    Victim(
        name="log and bitmaps at 100b",
        side="100b",
        files=METADATA,
        host="fence",
        remote=True,
        local=True,
    ),
    Victim(name="table", side="100a", files=("*/pyrep.db*",)),
    Victim(name="table at 100b", side="100b", files=("*/pyrep.db*",)),
    Victim(name="all", side="100a", files=("*/100a/*",), host="device"),
    Victim(name="all at 100b", side="100b", files=("*/100b/*",), host="fence"),
]
BY_NAME = {one.name: one for one in VICTIMS}


def _goes_on(sites: Sites, victim: Victim) -> None:
    """What has nothing to do with it: the other pair; a volume whose log has room."""
    if not victim.name.startswith("all"):
        assert sites.state("100a", sites.other) == ("DUPLEX", None)
    if victim.files != METADATA and not victim.name.startswith("all"):  # the other volume's, too
        assert sites.write("108a") is None


WAYS = [(errno.EIO, False, "EIO"), (errno.ENOSPC, True, "ENOSPC, and killed meanwhile")]
FAILING = [
    (fence, one) for fence in FENCES for one in VICTIMS if fence == "never" or one.host == "fence"
]
SHORT = [
    (files, side)
    for number, files in enumerate(["*.img", "*/alog/*", "*/bitmaps/*", "*/pyrep.db*"])
    for side in (SIDES if EVERY else [SIDES[number % 2]])
]


@pytest.mark.parametrize(
    ("sites", "victim", "code", "kills"),
    [
        pytest.param(fence, one, code, kills, id=f"{fence}-{one.name}-{name}")
        for number, (fence, one) in enumerate(FAILING)
        for code, kills, name in (WAYS if EVERY else [WAYS[number % 2]])
    ],
    indirect=["sites"],
)
def test_a_file_that_fails_splits_its_pairs_and_the_host_is_told_what_the_fence_level_says(
    sites: Sites, victim: Victim, code: int, kills: bool
) -> None:
    with sites.disks[victim.side].fail(*victim.files, error=code, calls=victim.calls):
        victim.check_answer(sites.write(), sites.fence, code)
        for splits, pair_id, side in (
            (victim.remote, sites.remote, "100a"),
            (victim.remote, sites.remote, "100b"),
            (victim.local, sites.local, "100b"),
        ):
            if splits:
                sites.wait(side, pair_id, "SPLIT", "device_error")
            elif not victim.name.startswith("all"):
                assert sites.state(side, pair_id) == ("DUPLEX", None)
        _goes_on(sites, victim)
        if victim.name.startswith("all"):  # the breaks are noticed, and can't be written down
            with contextlib.suppress(PyrepError):
                sites.state(victim.side, sites.remote if victim.side == "100a" else sites.local)
        if kills:
            sites.kill(victim.side)
    sites.bring_home()


@pytest.mark.parametrize("sites", ["never"], indirect=True)
@pytest.mark.parametrize("files", [("*/alog/*",), ("*/bitmaps/*",), METADATA], ids=str)
def test_what_a_split_pair_cannot_note_is_not_acknowledged(
    sites: Sites, files: tuple[str, ...]
) -> None:
    """A crash while the log, the bitmaps or both fail: every acknowledged write is pending."""
    with sites.served.client("100a") as a:
        a.finish(a.split_pair(sites.remote))
    with sites.disks["100a"].fail(*files, error=errno.ENOSPC):
        for _ in range(2 * REGIONS):
            sites.write()
        sites.kill("100a")
    sites.bring_home()


@pytest.mark.parametrize("sites", ["never"], indirect=True)
@pytest.mark.parametrize(("files", "side"), SHORT)
def test_writes_that_take_less_than_was_asked_are_gone_on_with(
    sites: Sites, files: str, side: str
) -> None:
    with sites.disks[side].write_less(files, length=1000):
        assert sites.write() is None
        with sites.served.client("100b") as b:
            b.finish(b.split_pair(sites.local))
        assert sites.write() is None
        assert sites.state("100a", sites.remote) == ("DUPLEX", None)
        sites.kill(side)
    sites.bring_home()


@pytest.mark.parametrize("sites", ["never"], indirect=True)
@pytest.mark.parametrize("side", SIDES)
def test_a_command_that_the_tables_cannot_take_is_refused_and_changes_nothing(
    sites: Sites, side: str
) -> None:
    with sites.disks[side].fail("*/pyrep.db*", error=errno.ENOSPC):
        with sites.served.client("100a") as a, pytest.raises(PyrepError):
            a.finish(a.split_pair(sites.remote))
        assert sites.write() is None
        sites.kill(side)
    sites.bring_home()


@pytest.mark.parametrize("sites", FENCES, indirect=True)
def test_a_path_that_is_lost_while_the_tables_cannot_be_written_keeps_no_host_waiting(
    sites: Sites,
) -> None:
    with sites.disks["100a"].fail("*/pyrep.db*", error=errno.EIO):
        sites.served.kill("100b")
        answer = sites.write()
        assert answer is None if sites.fence == "never" else type(answer) is MirrorLostError
        sites.served.start("100b")
    sites.bring_home()
