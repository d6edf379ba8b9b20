"""`pyrep pair pending`, and pins of generations: what the commands say, and refuse."""

from __future__ import annotations

import json

import pytest

from cli_served import Served
from pyrep.errors import InvalidArgumentError, NotExtError, NotFoundError, RefusedError
from pyrep.fs import Access, ExtFileSystem

CHUNK = 8192


def _ranges(served: Served, pair: str) -> list[tuple[int, int]]:
    lines = served.run("a", "pair", "pending", pair, "--json").stdout.splitlines()
    return [(one["offset"], one["length"]) for one in map(json.loads, lines)]


def test_pending_ranges_are_told_by_pieces_and_none_is_lost_between(
    mirrored: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrep.api.handlers.pairs._EXTENTS_MOST", 2)
    (pair,) = (one.pair_id for one in mirrored.a.pairs())
    assert _ranges(mirrored, pair) == []
    assert mirrored.run("a", "pair", "pending", pair).stdout == "nothing is pending\n"
    mirrored.run("a", "pair", "split", pair)
    for chunk in (0, 2, 3, 7, 9, 11):
        mirrored.a.volume("105a").pwrite(b"x", chunk * CHUNK)
    expected = [
        (one * CHUNK, count * CHUNK) for one, count in ((0, 1), (2, 2), (7, 1), (9, 1), (11, 1))
    ]
    assert _ranges(mirrored, pair) == expected == mirrored.a.pair(pair).pending_extents()
    text = mirrored.run("a", "pair", "pending", pair).stdout
    assert text.splitlines()[1] == f"{2 * CHUNK} +{2 * CHUNK}"
    assert text.splitlines()[-1] == "48 KiB in 5 ranges"


def test_what_cannot_be_told_is_refused(mirrored: Served) -> None:
    (pair,) = (one.pair_id for one in mirrored.a.pairs())
    mirrored.run("a", "pair", "pending", "none", code=NotFoundError.exit_code)
    mirrored.run("a", "pair", "pending", pair, "--files", code=NotExtError.exit_code)
    words = ("pair", "pending", pair, "--partition", "1")
    mirrored.run("a", *words, code=InvalidArgumentError.exit_code)


def test_pending_files_are_named(mirrored: Served, ext_image_bytes: bytes) -> None:
    (pair,) = (one.pair_id for one in mirrored.a.pairs())
    volume = mirrored.a.volume("105a")
    volume.pwrite(ext_image_bytes, 0)
    mirrored.run("a", "pair", "split", pair)
    with (
        volume.io() as io,
        ExtFileSystem.open(io.address, access=Access.READ_WRITE, name="105a") as files,
    ):
        files.create("/odd\x1b")
        files.write_difference("/odd\x1b", b"data" * 5000)
    told = mirrored.ask("a", "pair", "pending", pair, "--files")
    assert {"path": "/odd\x1b"} in told["files"]
    assert (told["volume_id"], told["is_estimate"]) == ("105a", True)
    text = mirrored.run("a", "pair", "pending", pair, "--files").stdout
    assert "/odd\\x1b" in text


def test_a_generation_is_pinned_by_name_and_kept_until_nobody_uses_it(mirrored: Served) -> None:
    made = mirrored.ask("b", "pair", "split", "100b.1")["generation"]["generation_id"]
    assert mirrored.ask("b", "generation", "pin", made, "auditor")["pins"] == ["auditor"]
    mirrored.run("b", "generation", "pin", made, "auditor")
    mirrored.run("b", "pair", "resync", "100b.1", code=RefusedError.exit_code)
    said = mirrored.run("b", "generation", "unpin", made, "nobody", code=NotFoundError.exit_code)
    assert "its pins: auditor" in said.stderr
    words = ("generation", "pin", made, "view-1")
    mirrored.run("b", *words, code=InvalidArgumentError.exit_code)
    mirrored.run("a", "generation", "list")  # it learns of it; and who holds it pins it
    refused = mirrored.run("a", "generation", "pin", made, "me", code=RefusedError.exit_code)
    assert "at system 100b" in refused.stderr
    assert "nobody" in mirrored.run("b", "generation", "unpin", made, "auditor").stdout
    mirrored.run("b", "pair", "resync", "100b.1")
