from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import pyrep


def package_names() -> list[str]:
    found = pkgutil.walk_packages(pyrep.__path__, prefix="pyrep.")
    return ["pyrep", *(module.name for module in found if module.ispkg)]


@pytest.mark.parametrize("name", package_names())
def test_a_package_says_what_it_hands_on_and_defines_nothing(name: str) -> None:
    package = importlib.import_module(name)
    assert sorted(set(package.__all__)) == sorted(package.__all__)
    for public in package.__all__:
        handed_on = getattr(package, public)
        if inspect.isclass(handed_on) or inspect.isfunction(handed_on):
            assert handed_on.__module__ != name, f"{name} defines {public}"
