"""What all tests share: how hypothesis runs, that CI doesn't skip, and what is done by hand."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from pyrep.engine.ageing import Ageing

# No deadline: a test that is slow under load isn't wrong.
settings.register_profile("default", deadline=None, print_blob=True)
# The same examples each time: what is found by luck belongs to a developer's run or a soak, not to
# the verdict on somebody's change.
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True, database=None)
settings.register_profile(
    "soak",
    deadline=None,
    print_blob=True,
    max_examples=1000,
    stateful_step_count=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "default")


MACHINE = "this machine has no "
"""How a skip begins that no set-up can prevent: what a kernel or a container doesn't allow."""


@pytest.fixture(scope="session", autouse=True)
def _aged_by_hand() -> Iterator[None]:
    """Let no data identifier grow older in this process unless a test says so.

    A row would change, and commands cross the path, at moments of their own. Served systems do it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ageing, "look", lambda _: None)
        yield


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if MACHINE in str(report.longrepr):
        return
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but the set-up installs what is needed: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure on CI."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a whole file's skip into a failure on CI."""
    report = yield
    _refuse_skip(report)
    return report
