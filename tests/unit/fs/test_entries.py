from __future__ import annotations

import pytest

from pyrep.errors import InvalidArgumentError
from pyrep.fs.entries import join, normalize, show


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/", b"/"),
        ("a", b"/a"),
        ("/a//b/./c/", b"/a/b/c"),
        (b"\xff/x", b"/\xff/x"),
        ("\udcff", b"/\xff"),
    ],
)
def test_a_path_is_bytes_from_the_root(given: str | bytes, expected: bytes) -> None:
    assert normalize(given) == expected


@pytest.mark.parametrize("given", ["", "a/..", "../a", "/..", "a\0"])
def test_a_path_that_could_lead_out_is_refused(given: str) -> None:
    with pytest.raises(InvalidArgumentError):
        normalize(given)


def test_a_name_that_merely_begins_with_dots_is_one() -> None:
    assert normalize("/..a/...") == b"/..a/..."


def test_names_join_and_are_shown() -> None:
    assert join(b"/", b"a") == b"/a"
    assert join(b"/a", b"b") == b"/a/b"
    assert show(b"/\xc3\xa4-\xff") == "/ä-\\xff"
