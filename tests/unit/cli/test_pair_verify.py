"""`pyrep pair verify`: what it tells, its exit status, and the repair."""

from __future__ import annotations

from cli_served import Served
from pyrep.errors import InvalidArgumentError, NotFoundError, PairDiffersError


def test_it_tells_where_a_pair_differs_and_repairs_it(mirrored: Served) -> None:
    mirrored.a.volume("105a").pwrite(b"written", 8192)
    assert "differing" in mirrored.run("a", "pair", "verify", "100a.1").stdout
    io = mirrored.b.state.volume(mirrored.b.volume("105b").volume_id).io
    io.pwrite(b"rotten", 8192)
    done = mirrored.run("a", "pair", "verify", "100a.1", code=PairDiffersError.exit_code)
    assert "differ in 1 places" in done.stderr
    assert "--repair" in done.stderr
    repaired = mirrored.run("a", "pair", "verify", "100a.1", "--repair")
    assert "copied" in repaired.stdout
    assert io.pread(7, 8192) == b"written"
    mirrored.run("a", "pair", "verify", "100a.1", "--percentage", "50", "--digest", "sha256")


def test_what_can_not_be_verified_is_refused(mirrored: Served) -> None:
    mirrored.run("a", "pair", "verify", "100a.77", code=NotFoundError.exit_code)
    code = InvalidArgumentError.exit_code
    mirrored.run("a", "pair", "verify", "100a.1", "--percentage", "0", code=code)
