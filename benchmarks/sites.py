"""Two systems with one remote pair between them, each in a process of its own, and its ceilings."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from ceilings import Ceilings, Hosts, words
from farend import FarEnd, far_end, security_of, tls_context
from pyrep import AckPoint, Options, Pair, PairStatus, StorageSystem, Volume
from runs import Runs

__all__ = ["Sites", "two_sites"]

_MIB = 1 << 20
_PUMP_BYTES = 256 << 10

Times = tuple[int, int]
"""Nanoseconds until everything was sent (C: written at the far end), and until it is durable."""


@dataclass(slots=True)
class Sites:
    """A remote pair of sparse volumes, a quarter of each allocated and in the page cache."""

    far: FarEnd
    pair: Pair
    source: Volume
    system: StorageSystem
    fills: Iterator[int] = field(default_factory=lambda: count(1))

    def settle(self) -> None:
        """Bring the pair to DUPLEX: another measurement has left it split."""
        if self.pair.status().status is not PairStatus.DUPLEX:
            job = self.pair.resync()
            assert job is not None
            job.wait()

    def dirty(self, runs: Runs) -> None:
        """Split, then write every run anew; the source is durable afterwards."""
        self.settle()
        self.pair.split()
        fill = next(self.fills).to_bytes(8, "little") * (_MIB // 8)
        for offset, length in runs:
            self.source.pwrite(fill[:length], offset)
        self.source.flush()

    def resync(self, runs: Runs) -> Times:
        """Copy what is pending: from the command to DUPLEX, everything durable at the far end."""
        start = time.perf_counter_ns()
        job = self.pair.resync()
        begun = time.perf_counter_ns()
        assert job is not None
        job.wait()
        done = time.perf_counter_ns()
        assert job.done_bytes == sum(length for _, length in runs)
        assert job.sent_s is not None
        return begun - start + int(job.sent_s * 1e9), done - start

    def copy_in_c(self, ceilings: Ceilings, runs: Runs) -> Times:
        """Let the C program send them, between the very files: it leaves what the resync leaves."""
        offsets, lengths = (words([run[side] for run in runs]) for side in (0, 1))
        with self.file() as source, self.far.connected("receive") as sock:
            return ceilings.send_runs(sock.fileno(), source, offsets, lengths)

    def pump(self, length: int) -> int:
        """Send as many bytes through one TLS connection; return the time until all have come."""
        context = tls_context(self.far.directory, "100a", is_server=False)
        data = memoryview(random.Random(2).randbytes(_PUMP_BYTES))
        with (
            self.far.connected("pump", count=length) as sock,
            context.wrap_socket(sock, server_hostname="100b") as secured,
        ):
            start = time.perf_counter_ns()
            for done in range(0, length, _PUMP_BYTES):
                secured.sendall(data[: length - done])
            assert secured.recv(1) == b"w"
            return time.perf_counter_ns() - start

    def write_in_c(
        self,
        ceilings: Ceilings,
        data: bytes,
        offsets: list[int],
        outstanding: int,
        *,
        is_durable: bool = False,
    ) -> tuple[int, list[int]]:
        """Let the C programs echo: the time in all, and of each write."""
        asked = {"length": len(data), "count": len(offsets), "is_durable": is_durable}
        with self.file() as source, self.far.connected("answer", **asked) as sock:
            all_ns, each = ceilings.ask(sock.fileno(), source, data, words(offsets), outstanding)
        return all_ns, list(each)

    @contextlib.contextmanager
    def hosts_in_c(self, length: int, count: int, *, is_durable: bool) -> Iterator[Hosts]:
        """Let threads of the caller be the echo's hosts, for so many writes in all."""
        asked = {"length": length, "count": count, "is_durable": is_durable}
        with self.file() as source, self.far.connected("answer", **asked) as sock:
            hosts = Hosts(sock.fileno(), source)
            ear = threading.Thread(target=hosts.hear, args=(count,))
            ear.start()
            yield hosts
            ear.join()

    @contextlib.contextmanager
    def file(self) -> Iterator[int]:
        """Open the source's file, past pyrep."""
        handle = os.open(self.source.path, os.O_RDWR)
        try:
            yield handle
        finally:
            os.close(handle)


@contextlib.contextmanager
def two_sites(
    directory: Path,
    size: int,
    *,
    is_tls: bool = False,
    ack: AckPoint = AckPoint.RECEIVED,
    options: Options | None = None,
) -> Iterator[Sites]:
    """Make both systems and a pair that is DUPLEX; a quarter of it holds data."""
    with (
        far_end(directory, volume_bytes=size, is_tls=is_tls) as far,
        StorageSystem.create(directory / "100a", "100a", options=options) as system,
    ):
        source = system.create_volume("105", size)
        block = random.Random(0).randbytes(_MIB)
        for offset in range(0, size // 4, _MIB):
            source.pwrite(block, offset)
        security = security_of(directory, "100a", is_tls=is_tls)
        path = system.dial("100b", far.address, security=security)
        while not path.state().is_up:
            time.sleep(0.01)
        pair = system.create_remote_pair("105", "100b", far.volume, ack=ack)
        pair.wait()
        yield Sites(far, pair, source, system)
        near = Path(source.path)
    near.unlink()
    far.target.unlink()
