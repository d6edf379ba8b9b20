"""The versions that the set-up installs: of all that pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PINNED = dict(
    line.split("==")
    for line in (ROOT / "scripts/constraints.txt").read_text().splitlines()
    if not line.startswith("#")
)
ASKED = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = ASKED["project"]


@pytest.mark.parametrize(
    "wanted",
    [
        *ASKED["build-system"]["requires"],
        *PROJECT["dependencies"],
        *(one for extra in PROJECT["optional-dependencies"].values() for one in extra),
    ],
)
def test_each_package_has_one_version(wanted: str) -> None:
    name, bound, version = re.fullmatch(r"([\w-]+)(>=|==)([\w.]+)", wanted).groups()  # type: ignore[union-attr]
    assert name in PINNED
    if bound == "==":
        assert PINNED[name] == version
