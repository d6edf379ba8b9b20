from __future__ import annotations

from pathlib import Path

import pytest

from pyrep.cli.demo import tools
from pyrep.cli.demo.tools import Tools
from pyrep.errors import DeviceError, MissingLibraryError

_SIZE = 4 << 20


@pytest.fixture
def found() -> Tools:
    try:
        return Tools.find()
    except MissingLibraryError as error:
        pytest.skip(str(error.hint))


def test_a_new_file_system_is_clean(found: Tools, tmp_path: Path) -> None:
    image = tmp_path / "image"
    found.make_ext4(image, _SIZE)
    assert image.stat().st_size == _SIZE
    assert not found.check_ext4(image)


def test_damage_is_told_and_not_mended(found: Tools, tmp_path: Path) -> None:
    image = tmp_path / "image"
    found.make_ext4(image, _SIZE)
    with image.open("r+b") as file:
        file.seek(1024 + 0x0C)  # the superblock's count of free blocks
        file.write(b"\x01\x00\x00\x00")
    damaged = image.read_bytes()
    assert "exit status" in found.check_ext4(image)
    assert image.read_bytes() == damaged


def test_a_file_system_that_cannot_be_made_says_why(found: Tools, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="mke2fs failed"):
        found.make_ext4(tmp_path / "image", 1024)


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "library", lambda: None)

    def which(name: str, path: str) -> str | None:
        assert path
        return None if name == "e2fsck" else f"/{name}"

    monkeypatch.setattr("shutil.which", which)
    with pytest.raises(MissingLibraryError, match="there is no e2fsck") as caught:
        Tools.find()
    assert caught.value.hint == "install e2fsprogs (Debian: apt-get install e2fsprogs)"


def test_programs_are_found_off_an_ordinary_users_path(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def which(name: str, path: str) -> str:
        asked.append(path)
        return f"/{name}"

    monkeypatch.setattr(tools, "library", lambda: None)
    monkeypatch.setattr("shutil.which", which)
    monkeypatch.setenv("PATH", "/mine")
    assert Tools.find() == Tools(mke2fs="/mke2fs", e2fsck="/e2fsck")
    assert set(asked) == {"/mine:/usr/sbin:/sbin"}
