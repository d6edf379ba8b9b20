"""What signals do to a served system, and who may talk to it: real processes, real kernel."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from conftest import MACHINE
from pyrep import StorageSystem
from pyrep.api import SOCKET_NAME
from pyrep.interconnect.pki import issue_certificate, make_authority
from pyrep.model import KIB, MIB
from pyrep.testing import wait_until
from system.killing import free_port
from system.serving import Served, make_sites

LONG_S = 60.0
SIZE = 4 * MIB
CONFIG = """
[path.timing]
retry_first_s = 0.05
retry_most_s = 0.2
[log]
level = "info"
"""


class Sites:
    """100a that dials 100b."""

    def __init__(self, root: Path, a: Served, b: Served) -> None:
        self.root, self.a, self.b = root, a, b

    def mirror(self) -> str:
        """Make the remote pair, DUPLEX, with some content."""
        self.a.api.create_volume("105a", SIZE)
        self.b.api.create_volume("105b", SIZE)
        self.a.api.write("105a", os.urandom(SIZE), 0)
        self.a.api.wait_for_path("100b", timeout_s=LONG_S)
        a = self.a.api
        made = a.finish(a.create_pair("105a", "105b", system_id="100b"))
        pair_id = str(made["pair_id"])
        a.wait_for_pair(pair_id, timeout_s=LONG_S)
        return pair_id


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    make_sites(tmp_path, CONFIG)
    with ExitStack() as stack:
        listen = f"--listen=127.0.0.1:{free_port()}"  # the same one in each run
        b = stack.enter_context(Served(tmp_path, "100b", listen))
        a = stack.enter_context(Served(tmp_path, "100a", f"--dial=100b={b.address}"))
        yield Sites(tmp_path, a, b)


def is_clean(system: Served) -> bool:
    with closing(sqlite3.connect(system.directory / "pyrep.db")) as database:
        return bool(database.execute("SELECT clean FROM system").fetchone()[0])


# --- SIGTERM --------------------------------------------------------------------------------------


def test_sigterm_cancels_a_copys_job_closes_cleanly_and_the_copy_goes_on_where_it_was(
    sites: Sites,
) -> None:
    pair_id, a = sites.mirror(), sites.a
    a.api.finish(a.api.split_pair(pair_id))
    a.api.write("105a", os.urandom(SIZE), 0)
    job = a.api.resync_pair(pair_id, ceiling_bytes_s=256 * KIB)
    assert job is not None
    wait_until(lambda: (a.api.pair(pair_id)["copy"] or {"done_bytes": 0})["done_bytes"] > 0)
    assert a.end(signal.SIGTERM) == 0
    assert f"job.end job={job.job_id} state=cancelled" in a.log()
    assert is_clean(a)
    with StorageSystem.open(a.directory) as system:
        now = system.pair(pair_id).status()
        assert now.status == "COPY"
        assert 0 < now.pending_bytes < SIZE
    a.start()
    a.api.wait_for_pair(pair_id, timeout_s=LONG_S)
    assert sites.b.api.read("105b", SIZE, 0) == a.api.read("105a", SIZE, 0)


def test_sigterm_gives_up_a_backup_that_still_waits_for_its_mirror(sites: Sites) -> None:
    sites.mirror()
    a, b = sites.a, sites.b
    b.api.create_volume("106b", SIZE)
    local = b.api.finish(b.api.create_pair("105b", "106b"))["pair_id"]
    b.api.wait_for_pair(local, timeout_s=LONG_S)
    b.api.finish(b.api.split_pair(local))
    a.api.write("105a", os.urandom(SIZE), 0)
    # The backup waits for the mirror that it takes, and that is copied slowly.
    b.api.resync_pair(local, ceiling_bytes_s=KIB)  # for more than an hour
    a.api.backup(["105a"], label="wanted")
    wait_until(lambda: bool(a.api.workflows()))
    assert a.end(signal.SIGTERM) == 0
    assert is_clean(a)
    a.start()
    (given_up,) = a.api.workflows()
    assert given_up["state"] == "abandoned"  # nothing had begun: it holds nothing, at either side
    assert b.end(signal.SIGTERM) == 0  # its copy goes on afterwards, as fast as it can
    assert is_clean(b)
    b.start()
    a.api.wait_for_pair("100a.1", timeout_s=LONG_S)
    a.api.finish(a.api.backup(["105a"], label="wanted"))
    made = [one["state"] for one in b.api.generations() if one["label"] == "wanted"]
    assert made[-1] == "complete"
    assert "Traceback" not in a.log() + b.log()


def test_sigterm_ends_a_resync_that_still_waits_for_another_copy_and_begins_none(
    sites: Sites,
) -> None:
    pair_id = sites.mirror()
    a, b = sites.a, sites.b
    b.api.create_volume("106b", SIZE)
    local = b.api.finish(b.api.create_pair("105b", "106b"))["pair_id"]
    b.api.wait_for_pair(local, timeout_s=LONG_S)
    b.api.finish(b.api.split_pair(local))
    a.api.write("105a", os.urandom(SIZE), 0)
    a.api.finish(a.api.split_pair(pair_id))
    b.api.resync_pair(local, ceiling_bytes_s=KIB)  # for more than an hour
    a.api.write("105a", os.urandom(SIZE), 0)
    job = a.api.resync_pair(pair_id)
    assert job is not None
    now = a.api.job(job.job_id)
    assert now.state == "running"
    assert now.progress is not None
    assert "waiting until the copy can begin" in now.progress.what
    assert a.end(signal.SIGTERM) == 0
    assert f"job.end job={job.job_id}" in a.log()
    assert is_clean(a)
    with StorageSystem.open(a.directory) as system:
        assert system.pair(pair_id).status().status == "SPLIT"


# --- SIGHUP ---------------------------------------------------------------------------------------


def _logged(system: Served, text: str, count: int = 1) -> None:
    wait_until(lambda: system.log().count(text) >= count)


def _take_over(sites: Sites, system: Served, authority: Path) -> None:
    """Put another authority's files in the place of a system's own; its daemon reads them."""
    shutil.copy(authority / "authority.pem", sites.root / f"{system.system_id}-authority.pem")
    for suffix in ("pem", "key"):
        name = f"{system.system_id}.{suffix}"
        shutil.copy(authority / name, sites.root / name)
    before = system.log().count("serve.reload done")
    system.signal(signal.SIGHUP)
    _logged(system, "serve.reload done", before + 1)


def _restart(system: Served) -> None:
    assert system.end(signal.SIGTERM) == 0
    system.start()


def test_sighup_with_a_bad_certificate_keeps_the_one_that_was_read_before(sites: Sites) -> None:
    a, b = sites.a, sites.b
    a.api.wait_for_path("100b", timeout_s=LONG_S)
    certificate = sites.root / "100b.pem"
    certificate.write_text("no certificate")
    b.signal(signal.SIGHUP)
    _logged(b, "serve.reload failed, what was read before stays")
    assert a.api.paths()[0]["is_up"]
    _restart(a)
    a.api.wait_for_path("100b", timeout_s=LONG_S)  # b shows the one that it had


def test_another_systems_certificate_is_refused_at_sighup_and_at_the_start(sites: Sites) -> None:
    a, b = sites.a, sites.b
    a.api.wait_for_path("100b", timeout_s=LONG_S)
    (path,) = a.api.paths()
    assert path["certificate_not_after"] == a.api.system()["certificate_not_after"]
    for suffix in ("pem", "key"):
        shutil.copy(sites.root / f"100a.{suffix}", sites.root / f"100b.{suffix}")
    b.signal(signal.SIGHUP)
    _logged(b, "serve.reload failed, what was read before stays: ")
    assert "it is system 100a's" in b.log()
    _restart(a)
    a.api.wait_for_path("100b", timeout_s=LONG_S)  # b shows the one that it had
    assert b.end(signal.SIGTERM) == 0
    before = len(b.log())
    with pytest.raises(AssertionError):
        b.start()
    said = " ".join(b.log()[before:].split())
    assert "cannot serve system 100b with the certificate" in said
    assert "it is system 100a's" in said
    assert is_clean(b)


def test_sighup_takes_over_new_certificates_for_connections_to_come(sites: Sites) -> None:
    a, b = sites.a, sites.b
    a.api.wait_for_path("100b", timeout_s=LONG_S)
    new = sites.root / "new"
    make_authority(new, name="another")
    for system_id in ("100a", "100b"):
        issue_certificate(new, system_id)
    _take_over(sites, b, new)
    assert a.api.paths()[0]["is_up"]  # what is up stays
    _restart(a)
    wait_until(lambda: a.api.paths()[0]["attempts"] > 1)
    assert not a.api.paths()[0]["is_up"]
    assert "certificate" in a.api.paths()[0]["last_error"]
    _take_over(sites, a, new)
    a.api.wait_for_path("100b", timeout_s=LONG_S)


def test_sighup_denies_a_system_whatever_says_where_the_certificates_are(sites: Sites) -> None:
    a, b = sites.a, sites.b
    a.api.wait_for_path("100b", timeout_s=LONG_S)
    own = {"certificate": "100b.pem", "key": "100b.key", "authority": "100b-authority.pem"}
    table = "\n".join(f"{name} = '{sites.root / file}'" for name, file in own.items())
    with (b.directory / "pyrep.toml").open("a") as config:
        config.write(f"[path.tls]\n{table}\ndenied = ['100a']\n")
    b.signal(signal.SIGHUP)
    _logged(b, "serve.reload done")
    _logged(b, "path.cut_off peer=100a")  # the one that was up, too
    _logged(b, "is system 100a, which is denied")
    refused = "system 100b at 127.0.0.1"  # before it, the connection that was cut off is told
    wait_until(lambda: refused in (a.api.paths()[0]["last_error"] or ""))
    (path,) = a.api.paths()
    assert not path["is_up"]
    assert "its log says why" in path["hint"]
    _restart(b)  # and from its start on
    count = b.log().count("which is denied")
    _logged(b, "which is denied", count + 1)


# --- who may --------------------------------------------------------------------------------------

_ASK = """
import os, socket, sys
uid, gid, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
os.setgroups([int(one) for one in sys.argv[4:]])
os.setgid(gid)
os.setuid(uid)
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(path)
    try:
        sock.sendall(b"GET /v1/system HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        print(sock.recv(12).decode())
    except ConnectionError:
        print()
"""
NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason=f"{MACHINE}right to be another user: not root")
@pytest.mark.parametrize(
    ("uid", "gid", "groups", "answer"),
    [
        (NOBODY, NOBODY, [NOBODY, 33], ""),
        (NOBODY, 0, [], "HTTP/1.1 200"),
        (NOBODY, NOBODY, [33, 0], "HTTP/1.1 200"),
        (0, NOBODY, [], "HTTP/1.1 200"),
    ],
    ids=["another user", "the socket's group", "a member of the socket's group", "root"],
)
def test_the_kernel_says_who_is_there_and_another_user_is_refused(
    uid: int, gid: int, groups: list[int], answer: str
) -> None:
    with tempfile.TemporaryDirectory() as name:  # below no directory that only we may enter
        root = Path(name)
        root.chmod(0o755)
        make_sites(root, CONFIG)
        with Served(root, "100a") as a:
            (root / "100a").chmod(0o755)
            path = root / "100a" / SOCKET_NAME
            assert path.stat().st_mode & 0o777 == 0o660
            path.chmod(0o666)  # were it only for the file's mode, everybody could
            asked = subprocess.run(
                [sys.executable, "-c", _ASK, str(uid), str(gid), str(path), *map(str, groups)],
                capture_output=True,
                text=True,
                check=True,
            )
            assert asked.stdout.strip() == answer
            assert (f"uid={uid} gid={gid}" in a.log()) is not bool(answer)
            assert a.api.system()["system_id"] == "100a"
