"""What `pyrep path list` says of a path."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pyrep.cli.path import path_row


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (timedelta(days=40), ""),
        (timedelta(days=29, hours=1), ": 29 days left"),
        (timedelta(hours=-1), ": ended"),
    ],
)
def test_how_long_the_certificate_lasts_is_said_when_it_isnt_long(
    left: timedelta, said: str
) -> None:
    until = datetime.now(UTC) + left
    row = path_row({"peer_id": "100b", "certificate_not_after": until.isoformat()})
    assert row["until"] == f"{until:%Y-%m-%d}{said}"


def test_a_path_without_certificates_says_nothing_of_them() -> None:
    assert path_row({"peer_id": "100b", "certificate_not_after": None})["until"] is None
