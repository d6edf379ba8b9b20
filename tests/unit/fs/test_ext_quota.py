"""Quotas inside an ext file system."""

from __future__ import annotations

import re

import pytest

from pyrep.errors import (
    DamagedFileSystemError,
    UnsupportedFeatureError,
    format_error,
)
from pyrep.fs import (
    Access,
)
from unit.fs.images import Image, ImageMaker

QUOTA = ("-b", "4096", "-O", "quota,project", "-E", "quotatype=usrquota:grpquota:prjquota")


def usage(image: Image, kind: str = "user") -> dict[int, tuple[int, int]]:
    """Return bytes and files by id, as e2fsprogs read the quota file."""
    lines = image.ask(f"list_quota {kind}").splitlines()
    rows = [re.findall(r"\d+", line) for line in lines]
    return {int(row[0]): (int(row[1]), int(row[4])) for row in rows if len(row) >= 7}


def test_quotas_count_what_their_users_have(images: ImageMaker) -> None:
    image = images.make(options=QUOTA)
    ids = [*range(1, 40), 1000, 70_000, 2**31 + 5]
    with image.opened() as fs:
        for uid in ids:
            fs.create(f"/f{uid}", uid=uid, gid=uid + 1)
            fs.write_difference(f"/f{uid}", b"x" * 9000)
    image.check()
    found = usage(image)
    assert {uid: found[uid] for uid in ids} == dict.fromkeys(ids, (12_288, 1))
    assert usage(image, "group")[2**31 + 6] == (12_288, 1)
    with image.opened() as fs:
        for uid in ids[::2]:
            fs.unlink(f"/f{uid}")
        fs.set_attributes("/f2", uid=4)
    image.check()
    found = usage(image)
    assert found[4] == (24_576, 2)
    assert all(found.get(uid, (0, 0)) == (0, 0) for uid in [2, *ids[::2]])


def test_wrong_quotas_are_what_e2fsck_would_find(images: ImageMaker) -> None:
    image = images.make(options=QUOTA)
    with image.opened() as fs:
        fs.create("/f", uid=5)
        fs.write_difference("/f", b"x" * 9000)
    image.debugfs("sif /f uid 6")
    with pytest.raises(AssertionError, match="QUOTA"):
        image.check()
    with image.opened() as fs:
        fs.create("/g", uid=7)  # any change counts anew
    image.check()
    assert usage(image)[6] == (12_288, 1)


def test_a_damaged_quota_file_is_found_before_the_first_change(images: ImageMaker) -> None:
    image = images.make(options=QUOTA)
    image.is_sound = False
    with image.opened(Access.READ_ONLY) as fs:
        first = fs.handle.first_block(3)
    image.patch(first * 4096, b"\0\0")
    with pytest.raises(DamagedFileSystemError, match="quota file"), image.opened():
        pass


def test_quotas_with_values_in_inodes_are_refused_with_what_to_do(images: ImageMaker) -> None:
    image = images.make(options=("-O", "quota,ea_inode"))
    with image.opened(Access.READ_ONLY) as fs:
        assert fs.exists("/lost+found")
    with (
        pytest.raises(UnsupportedFeatureError, match="quota with ea_inode") as caught,
        image.opened(),
    ):
        pass
    assert "tune2fs -O ^quota" in format_error(caught.value)
