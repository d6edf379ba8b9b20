"""Two served systems in two network namespaces, with delay and loss between: TCP and TLS."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pyrep.model import MIB
from pyrep.testing import wait_until
from system.serving import Served, make_sites
from system.wan import Wan

LONG_S = 120.0
SIZE = 4 * MIB
CONFIG = """
[path.timing]
ping_s = 1.0
ping_timeout_s = 1.0
retry_first_s = 0.05
retry_most_s = 0.5
[engine]
ack_timeout_s = 3.0
"""


class Sites:
    """100a in one namespace, 100b in the other."""

    def __init__(self, wan: Wan, a: Served, b: Served) -> None:
        self.wan, self.a, self.b = wan, a, b

    def mirror(self, **options: str) -> str:
        """Make a remote pair of volumes with some content, and a local one behind it."""
        self.a.api.create_volume("105a", SIZE)
        for volume in ("105b", "106b"):
            self.b.api.create_volume(volume, SIZE)
        self.a.api.write("105a", random.Random(1).randbytes(SIZE), 0)
        self.a.api.wait_for_path("100b", timeout_s=LONG_S)
        a, b = self.a.api, self.b.api
        made = a.finish(a.create_pair("105a", "105b", system_id="100b", **options))
        pair_id = str(made["pair_id"])
        self.duplex(pair_id)
        local = b.finish(b.create_pair("105b", "106b"))
        b.wait_for_pair(local["pair_id"], timeout_s=LONG_S)
        return pair_id

    def duplex(self, pair_id: str) -> None:
        """Wait until both sides say so."""
        for one in (self.a, self.b):
            wait_until(
                lambda one=one: one.api.pair(pair_id)["status"] == "DUPLEX",  # type: ignore[misc]
                timeout_s=LONG_S,
            )

    def write_some(self, seed: int, count: int = 30) -> None:
        """Write here and there."""
        draw = random.Random(seed)
        for _ in range(count):
            offset = draw.randrange(SIZE - 20_000)
            self.a.api.write("105a", draw.randbytes(draw.choice([100, 4096, 20_000])), offset)

    def is_equal(self) -> bool:
        """Whether both volumes hold the same."""
        return self.a.api.read("105a", SIZE, 0) == self.b.api.read("105b", SIZE, 0)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    make_sites(tmp_path, CONFIG)
    with ExitStack() as stack:
        wan = stack.enter_context(Wan())
        wan.set(delay=0.01, jitter=0.005, loss=0.01)
        listen = f"--listen={Wan.address_b}:0"
        b = stack.enter_context(Served(tmp_path, "100b", listen, prefix=wan.prefix(1)))
        dial = f"--dial=100b={b.address}"
        a = stack.enter_context(Served(tmp_path, "100a", dial, prefix=wan.prefix(0)))
        yield Sites(wan, a, b)


@pytest.mark.parametrize("ack", ["received", "durable", "queued"])
def test_a_pair_follows_and_is_backed_up_over_a_path_with_delay_and_loss(
    sites: Sites, ack: str
) -> None:
    pair_id = sites.mirror(ack=ack)
    sites.write_some(2)
    report = sites.a.api.finish(sites.a.api.backup(["105a"], hold_max_ms=10_000))
    assert report["generations"][0]["state"] == "complete"
    kept = sites.a.api.read("105a", SIZE, 0)
    assert sites.b.api.read("106b", SIZE, 0) == kept
    sites.write_some(3)
    sites.a.api.finish(sites.a.api.sync_pairs(pair_id, until="durable"))
    assert sites.is_equal()
    generation_id = report["generations"][0]["generation_id"]
    sites.b.api.finish(sites.b.api.restore(generation_id, "105a", whole=True))
    sites.duplex(pair_id)
    assert sites.a.api.read("105a", SIZE, 0) == kept


def test_a_network_that_goes_and_comes_back_costs_what_was_written_meanwhile(sites: Sites) -> None:
    pair_id = sites.mirror()
    sites.wan.set(loss=1.0)
    sites.write_some(4)  # the first waits for its time-out, the others are marked
    told = sites.a.api.pair(pair_id)
    assert (told["status"], told["cause"]) == ("SPLIT", "path_lost")
    assert 0 < told["pending_bytes"] < SIZE
    wait_until(lambda: sites.b.api.pair(pair_id)["cause"] == "path_lost", timeout_s=LONG_S)
    before = sites.b.api.read("105b", SIZE, 0)
    sites.wan.set(loss=0.02)
    sites.duplex(pair_id)
    assert sites.is_equal()
    (kept,) = sites.b.api.generations()
    assert (kept["cause"], kept["state"]) == ("protect", "complete")
    assert sites.b.api.read("106b", SIZE, 0) == before
    sites.write_some(5)
    assert sites.is_equal()


def test_short_bursts_of_loss_are_survived_without_a_lost_write(sites: Sites) -> None:
    pair_id = sites.mirror(ack="durable")
    for seed in range(6, 10):
        sites.wan.set(loss=0.3)
        sites.write_some(seed, count=5)
        sites.wan.set(loss=0.0)
        sites.write_some(seed + 10, count=5)
    sites.duplex(pair_id)
    sites.a.api.finish(sites.a.api.sync_pairs(pair_id, until="durable"))
    assert sites.is_equal()
