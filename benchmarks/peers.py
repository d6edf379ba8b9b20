"""Programs that do the same, measured beside pyrep where they are installed.

qemu-storage-daemon (Debian: qemu-system-common, with qemu-io of qemu-utils)
nbdkit, the other end of qemu-storage-daemon's path (Debian: nbdkit)
numpy (the extra `bench`)
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["StorageDaemon", "nbdkit", "numpy_or_none", "storage_daemon"]


_HANDED_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execvp("nbdkit", ["nbdkit", "-f", "file", sys.argv[2]])
"""
"""As systemd hands sockets over: the third descriptor, and the process that it is meant for."""


def numpy_or_none() -> ModuleType | None:
    """Return numpy, or None where it isn't installed."""
    return importlib.import_module("numpy") if importlib.util.find_spec("numpy") else None


class StorageDaemon:
    """A qemu-storage-daemon with a dirty bitmap over one file and a backup job into another.

    Made by `storage_daemon`. What is written through `write` is dirty until the next `copy`.
    """

    def __init__(self, process: subprocess.Popen[str], target: Path, url: str) -> None:
        self._process = process
        self._target = target
        self._url = url
        self._jobs = 0

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"qemu-storage-daemon ended: {self._process.wait()}")
        message: dict[str, Any] = json.loads(line)
        return message

    def command(self, verb: str, **arguments: object) -> dict[str, Any]:
        """Run one QMP command.

        Raises:
            RuntimeError: it was refused.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"execute": verb, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        while True:
            answer = self._read()
            if "error" in answer:
                raise RuntimeError(f"qemu-storage-daemon: {verb}: {answer['error']['desc']}")
            if "return" in answer:
                return answer

    def write(self, runs: Iterable[tuple[int, int]], byte: int) -> None:
        """Fill each run, offset and length in bytes, with `byte`; all are dirty then.

        Raises:
            RuntimeError: a write failed.
        """
        lines = "".join(f"write -q -P {byte} {offset} {length}\n" for offset, length in runs)
        command = ["qemu-io", "-f", "raw", self._url]
        done = subprocess.run(
            command, input=lines + "flush\n", text=True, capture_output=True, check=True
        )
        if "failed" in done.stdout + done.stderr:
            raise RuntimeError(f"qemu-io: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def copy(self, *, uses_copy_range: bool) -> tuple[int, int]:
        """Copy what is dirty; return nanoseconds to the job's end, and with fdatasync in all."""
        self._jobs += 1
        start = time.perf_counter_ns()
        self.command(
            "blockdev-backup",
            **{
                "job-id": f"copy{self._jobs}",
                "device": "source",
                "target": "target",
                "sync": "bitmap",
                "bitmap": "dirty",
                "bitmap-mode": "on-success",
                "x-perf": {"use-copy-range": uses_copy_range},
            },
        )
        while self._read().get("event") != "BLOCK_JOB_COMPLETED":
            pass
        written = time.perf_counter_ns() - start
        handle = os.open(self._target, os.O_WRONLY)
        os.fdatasync(handle)
        os.close(handle)
        return written, time.perf_counter_ns() - start


@contextlib.contextmanager
def nbdkit(file: Path) -> Iterator[int | None]:
    """Serve a file over TCP; yield the port of 127.0.0.1, or None where nbdkit isn't installed."""
    if not shutil.which("nbdkit"):
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        handle = listener.fileno()
        command = [sys.executable, "-c", _HANDED_OVER, str(handle), str(file)]
        process = subprocess.Popen(command, pass_fds=[handle])
        try:
            yield int(listener.getsockname()[1])
        finally:
            process.terminate()
            process.wait()


def _node_of(target: Path, port: int | None) -> dict[str, object]:
    if port is None:
        return {"driver": "file", "filename": str(target)}
    server = {"type": "inet", "host": "127.0.0.1", "port": str(port)}
    return {"driver": "nbd", "server": server}


@contextlib.contextmanager
def storage_daemon(
    source: Path, target: Path, *, chunk_bytes: int, port: int | None = None
) -> Iterator[StorageDaemon | None]:
    """Start one over two raw files of one size; None where QEMU isn't installed.

    Both files must stay away from everybody else meanwhile. `port`: where NBD serves the target.
    """
    if not (shutil.which("qemu-storage-daemon") and shutil.which("qemu-io")):
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:  # a socket's path must be short
        place = f"{directory}/nbd"
        process = subprocess.Popen(
            ["qemu-storage-daemon", "--chardev", "stdio,id=m", "--monitor", "chardev=m"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            daemon = StorageDaemon(process, target, f"nbd+unix:///source?socket={place}")
            daemon.command("qmp_capabilities")
            for name, file in (
                ("source", _node_of(source, None)),
                ("target", _node_of(target, port)),
            ):
                node = {"driver": "raw", "node-name": name, "file": file}
                daemon.command("blockdev-add", **node)
            bitmap = {"node": "source", "name": "dirty", "granularity": chunk_bytes}
            daemon.command("block-dirty-bitmap-add", **bitmap)
            address = {"type": "unix", "data": {"path": place}}
            daemon.command("nbd-server-start", addr=address)
            export = {"type": "nbd", "id": "e", "node-name": "source", "writable": True}
            daemon.command("block-export-add", **export)
            yield daemon
        finally:
            process.terminate()
            process.communicate()
