"""Activity logs as others find them: of a newer version, or of no use, when somebody looks."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pyrep.engine import Severity, StorageSystem, check_system
from pyrep.errors import FormatError
from pyrep.model import PairId, PairStatus
from rig import LONG_S
from unit.engine.logged import log_file, make_system

NEWER = 2


def _paired(system: StorageSystem) -> PairId:
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    return pair.pair_id


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _make_newer(path: Path) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 8, NEWER)
    struct.pack_into("<I", data, 4092, _crc32c(bytes(data[:4092])))
    path.write_bytes(data)


@pytest.mark.parametrize("clean", [False, True], ids=["crashed", "closed"])
def test_a_log_of_a_newer_version_is_refused_and_stays(tmp_path: Path, clean: bool) -> None:
    system = make_system(tmp_path)
    pair_id = _paired(system)
    log = log_file(system)
    system.close() if clean else system.abort()
    before = log.read_bytes()
    _make_newer(log)
    files = {one: one.read_bytes() for one in log.parents[1].rglob("*.bitmap")}
    newer = log.read_bytes()
    with pytest.raises(FormatError, match="newer pyrep") as refused:
        StorageSystem.open(tmp_path / "s")
    assert "newer" in (refused.value.hint or "")
    assert log.read_bytes() == newer
    assert {one: one.read_bytes() for one in files} == files
    report = check_system(tmp_path / "s")
    assert report.severity is Severity.FAILED
    log.write_bytes(before)
    with StorageSystem.open(tmp_path / "s") as system:
        assert system.pair(pair_id).row.status is PairStatus.SPLIT


def test_a_log_of_a_newer_version_is_not_made_anew_for_a_new_pair(tmp_path: Path) -> None:
    system = make_system(tmp_path)
    pair_id = _paired(system)
    log = log_file(system)
    system.pair(pair_id).dissolve()
    system.close()
    _make_newer(log)
    newer = log.read_bytes()
    with StorageSystem.open(tmp_path / "s") as system:
        _paired(system)
        told = system.volume("105b").activity()
        assert told is not None
        assert (told.state, "newer" in told.error) == ("missing", True)
        assert log.read_bytes() == newer


@pytest.mark.parametrize("harm", ["gone", "overwritten", "cut"])
def test_a_check_tells_of_a_log_without_which_everything_becomes_pending(
    tmp_path: Path, harm: str
) -> None:
    system = make_system(tmp_path)
    _paired(system)
    log = log_file(system)
    system.abort()

    def found() -> list[str]:
        report = check_system(tmp_path / "s")
        assert report.severity is not Severity.FAILED
        return [one.what for one in report.wrong if one.thing == "activity log of volume 105b"]

    assert not found()
    whole = log.read_bytes()
    match harm:
        case "gone":
            log.unlink()
        case "overwritten":
            log.write_bytes(bytes(len(whole)))
        case _:
            log.write_bytes(whole[:-4096])
    assert len(found()) == 1
    assert "everything of its pairs pending" in found()[0]
    log.write_bytes(whole)
    StorageSystem.open(tmp_path / "s").close()
    log.unlink()
    assert not found()  # nothing needs it
