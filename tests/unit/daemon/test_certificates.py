"""A daemon's certificates: whose they are, and that they end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pyrep import StorageSystem
from pyrep.daemon import read_config
from pyrep.daemon.certificates import Certificates, check_own
from pyrep.errors import InvalidArgumentError, PyrepError
from pyrep.interconnect import Tls
from pyrep.interconnect.pki import issue_certificate, make_authority, read_certificate

Warned = Callable[[], list[str]]


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Warned:
    """Return what takes the warnings since it was asked last: what they say, and of which file."""
    caplog.set_level(logging.WARNING, "pyrep.daemon.certificates")

    def take() -> list[str]:
        said = [one.getMessage().split() for one in caplog.records]
        caplog.clear()
        return [f"{words[0]} {words[1].rpartition('/')[2]} {words[3]}" for words in said]

    return take


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def tls(directory: Path, system_id: str = "100a", *, days: int = 825, authority: int = 3650) -> Tls:
    if not (directory / "authority.pem").exists():
        make_authority(directory, days=authority)
    made = issue_certificate(directory, system_id, days=days)
    return Tls(certificate=made.certificate, key=made.key, authority=directory / "authority.pem")


def test_another_systems_certificate_is_refused_with_what_was_found_and_expected(
    tmp_path: Path,
) -> None:
    security = tls(tmp_path, "100a")
    with pytest.raises(InvalidArgumentError) as caught:
        Certificates(security, "100b")
    said = f"cannot serve system 100b with the certificate {tmp_path}/100a.pem: it is system 100a's"
    assert str(caught.value) == said
    assert caught.value.hint is not None
    assert "pyrep pki issue" in caught.value.hint
    with pytest.raises(InvalidArgumentError, match="no system's"):
        check_own(tmp_path / "authority.pem", "100a")


def test_read_again_another_systems_certificate_or_none_leaves_the_one_before(
    tmp_path: Path,
) -> None:
    security = tls(tmp_path, "100a", days=100)
    watched = Certificates(security, "100a")
    before, configs = watched.facts(), security._configs
    issue_certificate(tmp_path, "100b", days=50)
    for suffix in ("pem", "key"):
        (tmp_path / f"100a.{suffix}").write_bytes((tmp_path / f"100b.{suffix}").read_bytes())
    with pytest.raises(InvalidArgumentError, match="it is system 100b's"):
        watched.reload()
    (tmp_path / "100a.pem").unlink()
    with pytest.raises(PyrepError, match=r"100a\.pem"):
        watched.reload()
    assert (watched.facts(), security._configs) == (before, configs)
    issue_certificate(tmp_path, "100a", days=10, replace=True)
    watched.reload()
    until = read_certificate(tmp_path / "100a.pem").not_after
    assert watched.facts()["certificate_not_after"] == until.isoformat()
    assert security._configs is not configs


def test_what_ends_within_30_days_is_said_at_the_start_and_once_a_day(
    tmp_path: Path, warned: Warned
) -> None:
    clock = Clock()
    watched = Certificates(tls(tmp_path, days=31), "100a", now=clock)
    assert warned() == []
    clock.now += timedelta(hours=23)
    watched.look()
    assert warned() == []
    clock.now += timedelta(hours=2)
    watched.look()
    assert warned() == ["certificate.ends_soon 100a.pem days_left=29"]
    watched.look()
    assert warned() == []
    clock.now += timedelta(days=30)
    watched.look()
    assert warned() == ["certificate.ended 100a.pem days_left=-1"]
    issue_certificate(tmp_path, "100a", days=90, replace=True)
    watched.reload()
    assert warned() == []


def test_an_authority_that_ends_is_said_unless_a_newer_one_stands_beside_it(
    tmp_path: Path, warned: Warned
) -> None:
    security = tls(tmp_path, days=100, authority=20)  # no certificate outlives its authority
    watched = Certificates(security, "100a")
    assert warned() == [
        "certificate.ends_soon 100a.pem days_left=19",
        "certificate.ends_soon authority.pem days_left=19",
    ]
    new = make_authority(tmp_path / "new").certificate
    with (tmp_path / "authority.pem").open("ab") as file:
        file.write(new.read_bytes())
    watched.reload()
    assert warned() == ["certificate.ends_soon 100a.pem days_left=19"]
    until = read_certificate(new).not_after
    assert watched.facts()["authority_not_after"] == until.isoformat()


CONFIG = """[path]
[path.tls]
certificate = "CERTIFICATE.pem"
key = "CERTIFICATE.key"
authority = "authority.pem"
[peers.PEER]
address = "127.0.0.1:7001"
"""


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize(
    ("certificate", "peer", "said"),
    [
        ("100b", "100b", "3: [path.tls] certificate: cannot serve system 100a with"),
        ("100a", "100a", "6: [peers] 100a: this is the system itself"),
        ("100a", "100b", ""),
    ],
)
def test_the_configuration_is_held_against_the_id_of_the_system_in_the_directory(
    tmp_path: Path, certificate: str, peer: str, said: str, *, is_open: bool
) -> None:
    home = tmp_path / "100a"
    with StorageSystem.create(home, "100a") as system:
        if not is_open:
            system.close()
        tls(home, "100a")
        issue_certificate(home, "100b")
        config = home / "pyrep.toml"
        config.write_text(CONFIG.replace("CERTIFICATE", certificate).replace("PEER", peer))
        files = sorted(home.iterdir())
        if said:
            with pytest.raises(InvalidArgumentError) as caught:
                read_config(home)
            assert str(caught.value).startswith(f"{config}:{said}")
        else:
            assert list(read_config(home).dial) == [peer]
        assert sorted(home.iterdir()) == files  # it was only looked at
