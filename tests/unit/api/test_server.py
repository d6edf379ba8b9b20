from __future__ import annotations

import http.client
import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep import StorageSystem, Volume
from pyrep.api import ApiConnections, ApiServer, Client, JobTable, Site
from pyrep.api.budget import Budget
from pyrep.api.routes import routes
from pyrep.api.server import status_of
from pyrep.engine import Cancel, ProgressCallback
from pyrep.errors import (
    BusyError,
    CancelledError,
    InUseError,
    InvalidArgumentError,
    NotFoundError,
    NotServedError,
    OutOfRangeError,
    PyrepError,
    RefusedError,
)
from pyrep.model import MIB
from pyrep.testing import wait_until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    jobs = JobTable()
    with StorageSystem.create(tmp_path / "100a", "100a") as system:
        yield Site(system=system, jobs=jobs)
        jobs.close()


@pytest.fixture
def path(site: Site, tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "api.sock"
    with ApiServer(where, site):
        yield where


@pytest.fixture
def raw(path: Path) -> Iterator[ApiConnections]:
    made = ApiConnections(path, timeout_s=30)
    yield made
    made.close()


def test_what_is_not_a_route_is_said_and_a_wrong_method_too(raw: ApiConnections) -> None:
    with pytest.raises(NotFoundError, match="there is no /v1/nothing"):
        raw.ask("GET", ("nothing",))
    with pytest.raises(NotFoundError, match="takes no PUT"):
        raw.ask("PUT", ("system",))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"volume_id": "1", "size": 5}, "unknown field"),
        ({"volume_id": "1", "size_bytes": "5"}, "Expected `int"),
        ({"size_bytes": 5}, "missing required field"),
        ({"volume_id": "1", "size_bytes": 5, "path": "/x"}, "one of the two"),
        ([], "Expected `object`"),
    ],
)
def test_a_body_that_is_not_understood_is_refused_whole(
    raw: ApiConnections, site: Site, body: object, says: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        raw.ask("POST", ("volumes",), body=body)
    assert site.system.volumes() == ()


def test_a_query_that_is_not_understood_is_refused(raw: ApiConnections, site: Site) -> None:
    site.system.create_volume("1", MIB)
    with pytest.raises(InvalidArgumentError, match="unknown field"):
        raw.send("GET", ("volumes", "1", "data"), query={"offset": 0, "length": 1, "fast": 1})
    with pytest.raises(InvalidArgumentError, match="missing required"):
        raw.send("PUT", ("volumes", "1", "data"), data=b"x")


def test_octets_go_to_a_volume_and_come_back(path: Path, site: Site) -> None:
    site.system.create_volume("1", MIB)
    data = bytes(range(256)) * 16
    with Client(path) as client:
        client.write("1", data, 100)
        client.flush("1")
        assert client.read("1", len(data), 100) == data
        assert client.read("1", 0, 0) == b""
        with pytest.raises(OutOfRangeError):
            client.read("1", 2, MIB - 1)
        with pytest.raises(OutOfRangeError):
            client.write("1", b"xx", MIB - 1)
        with pytest.raises(InvalidArgumentError, match="at once"):
            client.read("1", 65 * MIB, 0)
        assert client.read("1", 1, 0) == b"\0"  # the connection is as good as before


def test_a_body_too_large_or_of_no_length_ends_the_connection(path: Path) -> None:
    for header in (f"Content-Length: {65 * MIB}", "Transfer-Encoding: chunked"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(f"POST /v1/volumes HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
            answer = http.client.HTTPResponse(sock)
            answer.begin()
            assert answer.status == 400
            assert json.loads(answer.read())["error"] == "InvalidArgumentError"
            assert sock.recv(1) == b""


def test_a_second_server_is_refused_and_a_socket_left_over_replaced(
    path: Path, site: Site, tmp_path: Path
) -> None:
    with pytest.raises(InUseError, match="another process"):
        ApiServer(path, site)
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    with ApiServer(stale, site), Client(stale) as client:
        assert client.system()["system_id"] == "100a"
    assert not stale.exists()
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(InUseError, match="something else"):
        ApiServer(tmp_path / "file", site)
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_others_on_the_machine_cannot_connect(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_after_close_nothing_is_answered_and_idle_connections_have_ended(
    site: Site, tmp_path: Path
) -> None:
    where = tmp_path / "other.sock"
    server = ApiServer(where, site)
    server.start()
    client = Client(where)
    client.system()  # a connection that is kept
    server.close()
    server.close()
    with pytest.raises(NotServedError):
        client.system()
    client.close()


def test_requests_hold_no_more_in_memory_than_there_is_room_for(
    path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes of 40 MiB: three fit, the fourth stays in its socket until one has ended."""
    site.system.create_volume("105a", 128 * MIB)
    go_on, inside, most, lock = threading.Event(), 0, 0, threading.Lock()

    def pwrite(*_: object) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        go_on.wait(60)
        with lock:
            inside -= 1

    monkeypatch.setattr(Volume, "pwrite", pwrite)

    def put() -> None:
        with Client(path) as client:
            client.write("105a", bytes(40 * MIB), 0)

    hosts = [threading.Thread(target=put) for _ in range(5)]
    for one in hosts:
        one.start()
    wait_until(lambda: most == 3)
    with Client(path) as client:
        assert client.system()["system_id"] == "100a"  # what holds nothing waits for nobody
    go_on.set()
    for one in hosts:
        one.join()
    assert most == 3


def test_one_client_too_many_is_told_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrep.api.server._CONNECTIONS_MAX", 2)
    with Client(path) as one, Client(path) as two, Client(path) as three:
        assert one.system() == two.system()
        with pytest.raises(BusyError, match="2 clients are connected"):
            three.system()
        one.close()
        wait_until(lambda: _answers(path))


def _answers(path: Path) -> bool:
    try:
        with Client(path) as client:
            return bool(client.system())
    except BusyError:
        return False


def test_closing_lets_nobody_wait_for_room() -> None:
    budget = Budget(10)
    refused = threading.Event()

    def wait() -> None:
        with pytest.raises(BusyError), budget.room(5):
            pass
        refused.set()

    with budget.room(8):
        waiting = threading.Thread(target=wait)
        waiting.start()
        budget.close()
        assert refused.wait(60)
    waiting.join()


def test_closing_cuts_off_who_doesnt_read_its_answer(site: Site, tmp_path: Path) -> None:
    site.system.create_volume("105a", 16 * MIB)
    where = tmp_path / "other.sock"
    server = ApiServer(where, site, grace_s=0.1)
    server.start()
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.connect(str(where))
        stopped.sendall(b"GET /v1/volumes/105a/data?offset=0&length=16777216 HTTP/1.1\r\n\r\n")
        assert stopped.recv(12) == b"HTTP/1.1 200"
        server.close()
        got = 0
        while part := stopped.recv(MIB):
            got += len(part)
        assert got < 16 * MIB
    assert not where.exists()


def test_the_document_names_every_route_once(path: Path) -> None:
    with Client(path) as client:
        document = client.openapi()
    told = {(method.upper(), where) for where, one in document["paths"].items() for method in one}
    assert told == {(one.method, f"/v1{one.path}") for one in routes()}
    assert len(told) == len(routes())
    operations = [one for each in document["paths"].values() for one in each.values()]
    assert all(one["summary"].endswith(".") for one in operations)
    assert len({one["operationId"] for one in operations}) == len(operations)
    write = document["paths"]["/v1/volumes/{volume}/data"]["put"]
    assert [one["name"] for one in write["parameters"]] == ["volume", "offset"]


def test_a_mistake_of_ours_is_told_and_the_server_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(StorageSystem, "table", fails)
    with Client(path) as client:
        with pytest.raises(PyrepError, match="ZeroDivisionError") as caught:
            client.table()
        assert type(caught.value) is PyrepError
        assert client.volumes() == []


def test_a_job_tells_its_progress_its_steps_and_its_end(path: Path, site: Site) -> None:
    go = threading.Event()

    def work(_: ProgressCallback, cancel: Cancel) -> dict[str, int]:
        go.wait()
        cancel.check("work")
        return {"found": 7}

    with Client(path) as client:
        job = client.job(site.jobs.start("work", work).job_id)
        assert not job.is_over
        go.set()
        assert client.finish(job) == {"found": 7}
        go.clear()
        job = client.job(site.jobs.start("work", work).job_id)
        client.cancel_job(job.job_id)
        go.set()
        with pytest.raises(CancelledError):
            client.finish(job)
        assert [one.state for one in client.jobs()] == ["done", "cancelled"]


def test_closing_the_table_ends_what_runs(site: Site) -> None:
    def work(_: ProgressCallback, cancel: Cancel) -> None:
        while True:
            cancel.check("work")

    table = JobTable()
    job = table.start("work", work)
    table.close()
    assert job.to_json()["state"] == "cancelled"
    assert site.jobs.all() == []


def test_statuses_follow_the_class() -> None:
    assert status_of(RefusedError("x")) == 409
    assert status_of(NotFoundError("x")) == 404
    assert status_of(OutOfRangeError("x")) == 400
    assert status_of(PyrepError("x")) == 500
