"""A system that isn't let in dials on and on: what both sides log of it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.interconnect import Tls
from pyrep.interconnect.pki import issue_certificate, make_authority
from pyrep.testing import wait_until
from unit.engine.test_tls_path import TlsRig

MANY = 20


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[TlsRig]:
    with contextlib.closing(TlsRig(tmp_path).build_tcp()) as made:
        yield made


def _lines(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.getMessage().startswith(event)]


def _dial_many_times(rig: TlsRig) -> None:
    first = rig.dialled.state().attempts
    wait_until(lambda: rig.dialled.state().attempts >= first + MANY)


@pytest.mark.parametrize("how", ["denied", "another authority"])
def test_it_is_logged_once_with_what_to_do_by_either_side(
    rig: TlsRig, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.WARNING)
    if how == "denied":
        rig.security["100b"].denied = frozenset({"100a"})
    else:  # both trust both authorities, but 100b that of 100a no more
        other = tmp_path / "other"
        make_authority(other)
        issued = issue_certificate(other, "100b")
        rig.listener.close()
        with (other / "authority.pem").open("rb") as file:
            trusted = file.read()
        with (tmp_path / "authority" / "authority.pem").open("ab") as file:
            file.write(trusted)
        rig.security["100a"].reload()
        rig.security["100b"] = Tls(
            certificate=issued.certificate, key=issued.key, authority=other / "authority.pem"
        )
        address = rig.dialled.state().address
        rig.listen(address)
    rig.b.cut_off("100a")
    wait_until(lambda: "didn't greet" in (rig.dialled.state().last_error or ""))
    caplog.clear()
    _dial_many_times(rig)
    # Of so many dials; the first line of either may have come before.
    assert len(_lines(caplog, "path.refused")) <= 1
    assert len(_lines(caplog, "path.down")) <= 1
    caplog.clear()
    rig.listener.close()
    (counted,) = _lines(caplog, "path.refused")
    assert re.search(r" hint=\w.* again=\d+$", counted)
    assert re.search(r"127\.0\.0\.1:\d", counted) is None


def test_a_connection_is_cut_off_by_name_and_comes_again_unless_it_is_denied(rig: TlsRig) -> None:
    assert not rig.b.cut_off("100x")
    before = rig.b.state.peer(rig.a.system_id).connection().attempt
    assert rig.b.cut_off("100a")
    wait_until(
        lambda: (
            (now := rig.b.state.peer(rig.a.system_id).in_use()) is not None and now.attempt > before
        )
    )
    rig.security["100b"].denied = frozenset({"100a"})
    assert rig.b.cut_off("100a")
    rig.await_path(is_up=False)
    _dial_many_times(rig)
    assert not rig.b.cut_off("100a")
