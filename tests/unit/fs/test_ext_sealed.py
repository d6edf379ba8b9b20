"""What an ext file system keeps from us: encrypted, sealed, and names alike in any case."""

from __future__ import annotations

import pytest

from pyrep.errors import (
    UnsupportedFeatureError,
    format_error,
)
from pyrep.fs import (
    Access,
    Selection,
    Storage,
    plan_restore,
)
from unit.fs.images import Image, ImageMaker
from unit.fs.test_ext_features import restore_everything, set_flag


def make_encrypted(images: ImageMaker) -> Image:
    """Make what looks like an encrypted directory; names are any bytes."""
    image = images.make(options=("-b", "4096", "-O", "encrypt,^metadata_csum"))
    with image.opened() as fs:
        fs.mkdir("/secret")
        for name in ("aaaa", "bbbb"):
            fs.create(f"/secret/{name}")
            fs.write_difference(f"/secret/{name}", b"cipher")
        fs.create("/plain")
    # What no name that can be read has in it.
    volume = image.path.read_bytes().replace(b"aaaa", b"\0/\xff\x01")
    image.path.write_bytes(volume)
    for path in ("/secret/bbbb", "/secret"):
        set_flag(image, path, "encrypt")
    image.is_sound = False  # for e2fsck a real one has its policy in an attribute
    return image


def test_encrypted_files_are_listed_and_not_read(images: ImageMaker) -> None:
    with make_encrypted(images).opened(Access.READ_ONLY) as fs:
        assert fs.stat("/secret").storage is Storage.ENCRYPTED
        names = {stat.path: stat.storage for stat in fs.walk() if stat.path != b"/lost+found"}
        assert names == {
            b"/plain": 0,
            b"/secret": Storage.ENCRYPTED,
            b"/secret/AC__AQ": 0,
            b"/secret/YmJiYg": Storage.ENCRYPTED,
        }
        assert fs.stat("/secret/AC__AQ").size == 6
        with pytest.raises(UnsupportedFeatureError, match="encrypted"):
            fs.read("/secret/YmJiYg")


def test_an_encrypted_directory_takes_no_names_but_goes_as_a_whole(images: ImageMaker) -> None:
    with make_encrypted(images).opened() as fs:
        with pytest.raises(UnsupportedFeatureError, match="encrypt"):
            fs.create("/secret/new")
        with pytest.raises(UnsupportedFeatureError, match="encrypt"):
            fs.link("/plain", "/secret/new")
        with pytest.raises(UnsupportedFeatureError, match="encrypt"):
            fs.unlink("/secret/YmJiYg")
        fs.remove_tree("/secret")
        assert not fs.exists("/secret")


def test_encrypted_files_that_would_have_to_be_made_are_refused_by_name(
    images: ImageMaker,
) -> None:
    generation = make_encrypted(images)
    volume = generation.copy("later")
    with volume.opened() as fs:
        fs.remove_tree("/secret")
        fs.unlink("/plain")
    with generation.opened(Access.READ_ONLY) as source, volume.opened() as target:
        with pytest.raises(UnsupportedFeatureError, match=r"/secret .*encrypted") as caught:
            plan_restore(source, target, Selection(("/",)))
        assert "restore the whole volume" in format_error(caught.value)
        assert not plan_restore(source, target, Selection(("/plain",))).is_empty


def test_a_sealed_file_is_read_but_not_changed(images: ImageMaker) -> None:
    volume = images.make(options=("-O", "verity"))
    with volume.opened() as fs:
        fs.create("/f")
        fs.write_difference("/f", b"sealed content")
    set_flag(volume, "/f", "verity")
    generation = images.watch(volume.copy("generation"))
    with volume.opened() as fs:
        assert fs.read("/f") == b"sealed content"
        with pytest.raises(UnsupportedFeatureError, match="verity"):
            fs.write_difference("/f", b"x")
        with pytest.raises(UnsupportedFeatureError, match="verity"):
            fs.truncate("/f", 3)
        fs.create("/other")
    restore_everything(generation, volume)  # it is the same: nothing to do
    with volume.opened() as fs:
        fs.unlink("/f")
    with (
        generation.opened(Access.READ_ONLY) as source,
        volume.opened() as target,
        pytest.raises(UnsupportedFeatureError, match=r"/f .*verity"),
    ):
        plan_restore(source, target, Selection(("/",)))


def test_names_alike_in_any_case_are_found_as_written_and_not_added(images: ImageMaker) -> None:
    image = images.make(options=("-O", "casefold"))
    with image.opened() as fs:
        fs.mkdir("/d")
        fs.create("/d/Name")
    set_flag(image, "/d", "casefold")
    with image.opened() as fs:
        assert fs.stat("/d").storage is Storage.CASEFOLDED
        assert fs.exists("/d/Name")
        assert not fs.exists("/d/name")
        fs.write_difference("/d/Name", b"content")
        with pytest.raises(UnsupportedFeatureError, match="casefold"):
            fs.create("/d/other")
        fs.unlink("/d/Name")
