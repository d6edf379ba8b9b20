"""Two systems as two processes over mutual TLS, and how a process ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyrep import StorageSystem
from pyrep.api import Client
from pyrep.errors import BackingChangedError, BitmapFileError, InUseError
from pyrep.interconnect.pki import issue_certificate, make_authority
from pyrep.model import MIB


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    directory = tmp_path / "pki"
    make_authority(directory)
    for system_id in ("100a", "100b"):
        issue_certificate(directory, system_id)
        StorageSystem.create(tmp_path / system_id, system_id).close()
    return directory


def words(pki: Path, system_id: str, *more: str) -> list[str]:
    own = [f"--certificate={pki / system_id}.pem", f"--key={pki / system_id}.key"]
    directory = str(pki.parent / system_id)
    authority = f"--authority={pki / 'authority.pem'}"
    program = [sys.executable, "-m", "pyrep", "serve", directory, "--json"]
    return [*program, *own, authority, *more]


@contextmanager
def process(command: list[str], **env: str) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """Run a server; yield it with what it says when it is ready. It is killed at the end."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
    ) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            assert line
            yield running, json.loads(line)
        finally:
            running.kill()


def test_two_processes_mirror_and_back_up_over_tls(tmp_path: Path, pki: Path) -> None:
    data = bytes(range(256)) * 4096
    with process(words(pki, "100b", "--listen=127.0.0.1:0")) as (second, told):
        dial = f"--dial=100b={told['address']}"
        with (
            process(words(pki, "100a", dial)) as (first, _),
            Client.of_system(tmp_path / "100a") as a,
            Client.of_system(tmp_path / "100b") as b,
        ):
            a.create_volume("105a", 4 * MIB)
            a.write("105a", data, 0)
            for name in ("105b", "106b"):
                b.create_volume(name, 4 * MIB)
            a.wait_for_path("100b", timeout_s=30)
            pair = a.finish(a.create_pair("105a", "105b", system_id="100b"))
            a.wait_for_pair(pair["pair_id"], timeout_s=30)
            local = b.finish(b.create_pair("105b", "106b"))
            b.wait_for_pair(local["pair_id"], timeout_s=30)
            report = a.finish(a.backup(["105a"]))
            assert report["generations"][0]["home"] == "100b"
            assert b.read("106b", len(data), 0) == data
            first.send_signal(signal.SIGTERM)
            assert first.wait(30) == 0
        second.send_signal(signal.SIGINT)
        assert second.wait(30) == 0
    assert not (tmp_path / "100a" / "pyrep.sock").exists()
    with StorageSystem.open(tmp_path / "100b") as system:  # closed cleanly
        assert system.volume("105b").pread(len(data), 0) == data


def test_systemd_is_told_when_it_is_ready_and_when_it_ends(tmp_path: Path, pki: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(30)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with process(words(pki, "100a"), **environment) as (running, told):
            assert told["pid"] == running.pid
            assert notified.recv(100) == b"READY=1"
            running.send_signal(signal.SIGHUP)  # reads the certificates, and goes on
            with Client.of_system(tmp_path / "100a") as client:
                assert client.system()["pid"] == running.pid
            running.send_signal(signal.SIGTERM)
            assert notified.recv(100) == b"STOPPING=1"
            assert running.wait(30) == 0


def test_a_system_in_use_is_refused_by_its_exit_status(pki: Path) -> None:
    with StorageSystem.open(pki.parent / "100a"):
        done = subprocess.run(words(pki, "100a"), capture_output=True, text=True, check=False)
    assert done.returncode == InUseError.exit_code
    assert "100a" in done.stderr


@pytest.mark.parametrize("goes_on", ["repair", "option"])
@pytest.mark.parametrize("harm", ["volume", "bitmap"])
def test_a_file_that_isnt_what_it_was_is_refused_with_what_an_operator_can_do(
    tmp_path: Path, harm: str, goes_on: str
) -> None:
    home = tmp_path / "100b"
    with StorageSystem.create(home, "100b") as system:
        for name in ("105b", "106b"):
            system.create_volume(name, MIB)
        system.create_local_pair("105b", "106b").wait()
    if harm == "volume":
        (home / "volumes" / "105b.img").write_bytes(b"another" * (MIB // 7) + bytes(MIB % 7))
        option, status = "changed_backing", BackingChangedError.exit_code
    else:
        next((home / "bitmaps").iterdir()).write_bytes(b"no bitmap")
        option, status = "bad_bitmap", BitmapFileError.exit_code
    program = [sys.executable, "-m", "pyrep"]
    refused = subprocess.run(
        [*program, "serve", str(home)], capture_output=True, text=True, check=False
    )
    assert refused.returncode == status
    said = " ".join(refused.stderr.split())
    for one in ("pyrep system check", "pyrep system repair", option, "[engine]"):
        assert one in said
    more = []
    if goes_on == "repair":
        checked = [*program, "system", "check", str(home)]
        assert subprocess.run(checked, capture_output=True, check=False).returncode == 61
        repaired = [*program, "system", "repair", str(home)]
        assert subprocess.run(repaired, capture_output=True, check=False).returncode == 0
    else:
        config = tmp_path / "pyrep.toml"
        config.write_text(f'[engine]\n{option} = "all_pending"\n')
        more = ["--config", str(config)]
    serve = [*program, "serve", str(home), "--json", *more]
    with process(serve), Client.of_system(home) as client:
        if goes_on == "repair":
            assert client.pair("100b.1")["status"] == "SPLIT"
            client.resync_pair("100b.1")
        client.wait_for_pair("100b.1", timeout_s=30)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--listen", "127.0.0.1:0"], "certificates"),
        (["--insecure-plain-tcp", "--key", "x"], "takes no certificates"),
        (["--key", "x"], "all three"),
        (["--insecure-plain-tcp", "--dial", "100b"], "no value"),
    ],
)
def test_a_path_is_asked_for_whole_and_plain_only_in_words(
    tmp_path: Path, more: list[str], says: str
) -> None:
    command = [sys.executable, "-m", "pyrep", "serve", str(tmp_path), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr
