"""Memory is bounded by configuration, whatever the backlog: a stopped peer, many writers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyrep.model import MIB, Congestion

QUEUE_BYTES = 16 * MIB
BESIDE_BYTES = 12 * MIB
"""Stacks of the writers, frames, what the interpreter takes meanwhile."""

SECONDARY = """
    import sys
    from pathlib import Path
    from pyrep import StorageSystem
    from pyrep.interconnect import Plain

    with StorageSystem.create(Path(sys.argv[1]), "100b") as system:
        system.create_volume("105b", 64 << 20)
        listener = system.listen("127.0.0.1:0", security=Plain())
        print(listener.address, flush=True)
        sys.stdin.readline()
"""

PRIMARY = """
    import json, os, re, sys, threading
    from pathlib import Path
    from pyrep import AckPoint, Congestion, Options, StorageSystem
    from pyrep.interconnect import PathTiming, Plain
    from pyrep.testing import wait_until

    queue_bytes, policy = int(sys.argv[3]), Congestion(sys.argv[4])

    def peak():
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

    # Long enough that the stopped peer isn't found out: a backlog, not a lost path.
    options = Options(queue_bytes=queue_bytes, ack_timeout_s=600)
    system = StorageSystem.create(Path(sys.argv[1]), "100a", options=options)
    volume = system.create_volume("105a", 64 << 20)
    timing = PathTiming(ping_s=600, ping_timeout_s=600)
    system.dial("100b", sys.argv[2], security=Plain(), timing=timing)
    wait_until(lambda: system.endpoint.is_connected("100b"))
    pair = system.create_remote_pair("105a", "100b", "105b", ack=AckPoint.QUEUED, congestion=policy)
    pair.wait(timeout_s=60)
    data = bytes(range(256)) * 4096
    volume.pwrite(data, 0)
    pair.wait_marker(timeout_s=60)
    print(flush=True)
    sys.stdin.readline()

    def host(number):
        for round in range(20):
            volume.pwrite(data, (number * 20 + round) % 64 << 20)

    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    hosts = [threading.Thread(target=host, args=(n,), daemon=True) for n in range(24)]
    for one in hosts:
        one.start()
    if policy is Congestion.PULL_AHEAD:
        for one in hosts:
            one.join()
    else:
        wait_until(lambda: pair.status().lag.queued_bytes > queue_bytes - (2 << 20))
    state = pair.status()
    writing = sum(one.is_alive() for one in hosts)
    told = {"growth": peak() - before, "status": state.status, "writing": writing}
    print(json.dumps(told), flush=True)
    os._exit(0)
"""


@contextmanager
def running(script: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script; killed at the end."""
    command = [sys.executable, "-c", textwrap.dedent(script), *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "it ended"
    return line.strip()


@pytest.mark.parametrize("policy", Congestion)
def test_a_stopped_peer_and_many_writers_cost_a_queue_and_no_more(
    tmp_path: Path, policy: Congestion
) -> None:
    with running(SECONDARY, str(tmp_path / "100b")) as secondary:
        address = read_line(secondary)
        words = (str(tmp_path / "100a"), address, str(QUEUE_BYTES), policy.value)
        with running(PRIMARY, *words) as primary:
            read_line(primary)
            secondary.send_signal(signal.SIGSTOP)
            assert primary.stdin is not None
            primary.stdin.write("\n")
            primary.stdin.flush()
            told = json.loads(read_line(primary))
    # 480 MiB were written, or wanted to be.
    assert told["growth"] < QUEUE_BYTES + BESIDE_BYTES, told
    if policy is Congestion.BLOCK:
        assert told["growth"] > QUEUE_BYTES // 2, "it would not see a queue that grows"
        assert told["writing"] > 0
        assert told["status"] == "DUPLEX"
    else:
        assert (told["writing"], told["status"]) == (0, "SPLIT")
