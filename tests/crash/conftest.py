"""What the tests of systems that end, or fail, in the midst of a workload begin with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crash.apart import Prepared
from crash.faults import build_faults


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where calls that fail come from."""
    return build_faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Prepared]:
    """Return a maker of what workloads begin with; each is made once."""
    made: dict[str, Prepared] = {}

    def one(name: str) -> Prepared:
        if name not in made:
            made[name] = Prepared.make(name, tmp_path_factory.mktemp(name))
        return made[name]

    return one
