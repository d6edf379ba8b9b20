"""The features of ext2, ext3 and ext4, and how each is handled."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pyrep.fs.ext_library import library

__all__ = ["ExtFeature", "FeatureFamily", "Handling", "ext_features"]


class Handling(enum.Enum):
    """What is done with a file system that has a feature.

    HANDLED: read and written. READ: read; to be written it is refused by name. REFUSED: by name.
    """

    HANDLED = 0
    READ = 1
    REFUSED = 2


class FeatureFamily(enum.Enum):
    """Which of the superblock's three words a feature is in."""

    COMPATIBLE = 0
    INCOMPATIBLE = 1
    READ_ONLY_COMPATIBLE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtFeature:
    """One feature.

    Attributes:
        name: as mke2fs and tune2fs spell it.
        bit: in its word.
    """

    name: str
    family: FeatureFamily
    bit: int
    handling: Handling


def ext_features() -> tuple[ExtFeature, ...]:
    """Return all features that are known. docs/ext.md has the table, with words.

    Others are refused by their number, but those of the compatible family, which are harmless.

    Raises:
        MissingLibraryError: pyrep was built without libext2fs.
    """
    ffi, lib = library()
    found: list[ExtFeature] = []
    one = ffi.new("rep_ext_feature *")
    while lib.rep_ext_feature_get(len(found), one):
        found.append(
            ExtFeature(
                name=ffi.string(one.name).decode(),
                family=FeatureFamily(one.family),
                bit=one.bit,
                handling=Handling(one.handling),
            )
        )
    return tuple(found)
