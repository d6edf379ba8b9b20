"""docs/ext.md says of each feature what the code does with it."""

from __future__ import annotations

import re
from pathlib import Path

from pyrep.fs.features import ExtFeature, FeatureFamily, Handling, ext_features

TABLE = Path(__file__).parents[2] / "docs/ext.md"
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+0x[^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
FAMILIES = {family: family.name.lower().replace("_", " ") for family in FeatureFamily} | {
    FeatureFamily.READ_ONLY_COMPATIBLE: "read-only compatible"
}
HANDLINGS = {
    Handling.HANDLED: "handled",
    Handling.READ: "read only",
    Handling.REFUSED: "refused by name",
}


def _row(feature: ExtFeature) -> tuple[str, str, str]:
    where = f"{FAMILIES[feature.family]} 0x{feature.bit:x}"
    return feature.name, where, HANDLINGS[feature.handling]


def test_the_table_is_the_codes() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+0x[^|]+) \| ([^|]+) \| ([^|]+) \|$", TABLE.read_text(), re.MULTILINE
    )
    assert [row[:3] for row in rows] == [_row(feature) for feature in ext_features()]
    assert all(row[3].strip() for row in rows)


def test_no_feature_is_there_twice() -> None:
    features = ext_features()
    assert len({(one.family, one.bit) for one in features}) == len(features)
    assert len({one.name for one in features}) == len(features)
