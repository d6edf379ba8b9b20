from __future__ import annotations

from pathlib import Path

import pytest

from pyrep.cli.demo.workspace import open_workspace
from pyrep.errors import DeviceError, ExistsError, NoSpaceError


def test_a_new_directory_is_made_and_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    wanted = tmp_path / "above/new"
    with open_workspace(wanted, room_bytes=1, keep=False) as path:
        assert path == wanted
        (path / "deep").mkdir()
        (path / "deep/file").write_bytes(b"x")
    assert not wanted.exists()


def test_an_empty_directory_is_emptied_again_and_stays(tmp_path: Path) -> None:
    with open_workspace(tmp_path, room_bytes=1, keep=False) as path:
        (path / "file").write_bytes(b"x")
        (path / "directory").mkdir()
    assert list(tmp_path.iterdir()) == []


def test_without_a_name_it_is_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_workspace(None, room_bytes=1, keep=False) as path:
        assert path.parent == tmp_path
        assert path.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_kept_is_kept(tmp_path: Path) -> None:
    with open_workspace(tmp_path / "new", room_bytes=1, keep=True) as path:
        (path / "file").write_bytes(b"x")
    assert (tmp_path / "new/file").exists()


def test_a_run_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted() -> None:
        with open_workspace(tmp_path / "new", room_bytes=1, keep=False) as path:
            (path / "file").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not (tmp_path / "new").exists()


def test_a_directory_that_holds_something_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"x")
    with (
        pytest.raises(ExistsError, match="isn't empty") as caught,
        open_workspace(tmp_path, room_bytes=1, keep=False),
    ):
        pass
    assert caught.value.hint == "name an empty directory, or a new one"
    assert (tmp_path / "mine").read_bytes() == b"x"


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    for path in (file, file / "below"):
        with (
            pytest.raises(ExistsError, match="isn't a directory"),
            open_workspace(path, room_bytes=1, keep=False),
        ):
            pass


def test_a_directory_that_cannot_be_made_is_an_error_with_its_cause() -> None:
    with (
        pytest.raises(DeviceError, match="cannot use /proc/nowhere"),
        open_workspace(Path("/proc/nowhere"), room_bytes=1, keep=False),
    ):
        pass


def test_too_little_room_is_found_before_anything_is_written(tmp_path: Path) -> None:
    with (
        pytest.raises(NoSpaceError, match="are needed") as caught,
        open_workspace(tmp_path / "new", room_bytes=1 << 60, keep=False),
    ):
        pass
    assert caught.value.hint == "name a directory with more room: --directory"
    assert not (tmp_path / "new").exists()
