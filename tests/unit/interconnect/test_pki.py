from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pyrep.errors import DeviceError, ExistsError, InvalidArgumentError, NotFoundError
from pyrep.interconnect import Tls
from pyrep.interconnect.pki import issue_certificate, make_authority, read_certificate


def test_a_certificate_says_whose_it_is(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca")
    issued = issue_certificate(tmp_path / "ca", "100a", days=10)
    facts = read_certificate(issued.certificate)
    assert facts.system_id == "100a"
    assert not facts.is_authority
    left = facts.not_after - datetime.now(UTC)
    assert timedelta(days=9) < left <= timedelta(days=10)
    assert read_certificate(authority.certificate).is_authority
    assert read_certificate(authority.certificate).system_id is None


def test_keys_are_for_their_user_alone(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca")
    issued = issue_certificate(tmp_path / "ca", "100a")
    assert {stat.S_IMODE(one.key.stat().st_mode) for one in (authority, issued)} == {0o600}
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700


def test_a_certificate_never_outlives_its_authority(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca", days=5)
    issued = issue_certificate(tmp_path / "ca", "100a", days=500)
    until = read_certificate(authority.certificate).not_after
    assert read_certificate(issued.certificate).not_after == until


def test_nothing_is_replaced_unless_asked_for(tmp_path: Path) -> None:
    made = make_authority(tmp_path / "ca")
    before = made.key.read_bytes()
    with pytest.raises(ExistsError):
        make_authority(tmp_path / "ca")
    assert made.key.read_bytes() == before
    first = issue_certificate(tmp_path / "ca", "100a").certificate.read_bytes()
    with pytest.raises(ExistsError):
        issue_certificate(tmp_path / "ca", "100a")
    again = issue_certificate(tmp_path / "ca", "100a", replace=True)
    assert again.certificate.read_bytes() != first
    assert sorted(one.name for one in (tmp_path / "ca").iterdir()) == [
        "100a.key",
        "100a.pem",
        "authority.key",
        "authority.pem",
    ]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_what_replaces_a_pair_half_way_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    make_authority(tmp_path / "ca")
    made = issue_certificate(tmp_path / "ca", "100a")
    before = [one.read_bytes() for one in (made.key, made.certificate)]
    files = sorted(one.name for one in (tmp_path / "ca").iterdir())
    replace = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if target == made.certificate:
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises((DeviceError, KeyboardInterrupt)):
        issue_certificate(tmp_path / "ca", "100a", replace=True)
    assert [one.read_bytes() for one in (made.key, made.certificate)] == before
    assert sorted(one.name for one in (tmp_path / "ca").iterdir()) == files


def test_a_first_pair_that_fails_half_way_leaves_no_key_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_authority(tmp_path / "ca")
    link = os.link

    def fails(source: Path, target: Path) -> None:
        if target.name == "100a.pem":
            raise OSError(28, "No space left on device")
        link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", fails)
        with pytest.raises(DeviceError, match=r"100a\.pem"):
            issue_certificate(tmp_path / "ca", "100a")
    assert issue_certificate(tmp_path / "ca", "100a").key.exists()


def test_names_are_durable_as_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        mode = os.fstat(descriptor).st_mode
        synced.append("directory" if stat.S_ISDIR(mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    make_authority(tmp_path / "ca")
    assert synced == ["file", "file", "directory", "directory"]


def test_at_any_moment_of_a_replacement_a_load_finds_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a crash: the files are as they are before and behind each of the names given."""
    make_authority(tmp_path)
    made = issue_certificate(tmp_path, "100a")
    loaded: list[str] = []
    replace = Path.replace

    def load() -> None:
        Tls(certificate=made.certificate, key=made.key, authority=tmp_path / "authority.pem")
        loaded.append(read_certificate(made.certificate).sha256)
        assert stat.S_IMODE(made.key.stat().st_mode) == 0o600

    def watched(self: Path, target: Path) -> Path:
        load()
        done = replace(self, target)
        load()
        return done

    monkeypatch.setattr(Path, "replace", watched)
    issue_certificate(tmp_path, "100a", replace=True)
    assert len(loaded) == 6  # key, certificate, key
    assert len(set(loaded)) == 2
    assert made.key.read_text().count("BEGIN") == 1


@pytest.mark.parametrize("stops_at", [1, 2, 3])
def test_a_replacement_that_a_crash_came_amid_leaves_a_pair_and_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_at: int
) -> None:
    make_authority(tmp_path)
    made = issue_certificate(tmp_path, "100a")
    replace, left = Path.replace, [stops_at]

    def crashes(self: Path, target: Path) -> Path:
        left[0] -= 1
        return target if left[0] <= 0 else replace(self, target)  # nothing happens any more

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crashes)
        issue_certificate(tmp_path, "100a", replace=True)
    tls = Tls(certificate=made.certificate, key=made.key, authority=tmp_path / "authority.pem")
    issue_certificate(tmp_path, "100a", replace=True)
    tls.reload()
    assert made.key.read_text().count("BEGIN") == 1


@pytest.mark.parametrize("name", ["100a.key", "100a.pem"])
def test_a_pair_that_is_replaced_between_the_looks_at_its_files_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make_authority(tmp_path)
    made = issue_certificate(tmp_path, "100a")
    read, replaced = Path.read_bytes, list[str]()

    def replacing(self: Path) -> bytes:
        data = read(self)
        if self.name == name and not replaced:
            replaced.append(name)
            issue_certificate(tmp_path, "100a", replace=True)
        return data

    monkeypatch.setattr(Path, "read_bytes", replacing)
    Tls(certificate=made.certificate, key=made.key, authority=tmp_path / "authority.pem")
    assert replaced


def test_a_key_of_another_certificate_is_refused_with_what_to_do(tmp_path: Path) -> None:
    make_authority(tmp_path)
    first = issue_certificate(tmp_path, "100a")
    key = first.key.read_bytes()
    issue_certificate(tmp_path, "100a", replace=True)
    first.key.write_bytes(key)  # one of the two was copied
    with pytest.raises(InvalidArgumentError, match="key values mismatch") as caught:
        Tls(certificate=first.certificate, key=first.key, authority=tmp_path / "authority.pem")
    assert caught.value.hint is not None
    assert "pyrep pki issue --force" in caught.value.hint


def test_an_authority_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"authority\.pem"):
        issue_certificate(tmp_path, "100a")


def test_a_key_of_another_authority_is_refused(tmp_path: Path) -> None:
    one = make_authority(tmp_path / "one")
    other = make_authority(tmp_path / "other")
    one.key.write_bytes(other.key.read_bytes())
    with pytest.raises(InvalidArgumentError, match="isn't the key of"):
        issue_certificate(tmp_path / "one", "100a")


@pytest.mark.parametrize("days", [0, -1, 40_000])
def test_a_time_that_cannot_be_is_refused(tmp_path: Path, days: int) -> None:
    with pytest.raises(InvalidArgumentError):
        make_authority(tmp_path / "ca", days=days)
    assert not (tmp_path / "ca").exists()


def test_an_id_that_no_system_can_have_is_refused(tmp_path: Path) -> None:
    make_authority(tmp_path / "ca")
    with pytest.raises(InvalidArgumentError):
        issue_certificate(tmp_path / "ca", "../100a")


def test_a_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(InvalidArgumentError, match=r"x\.pem holds no certificate"):
        read_certificate(tmp_path / "x.pem")
