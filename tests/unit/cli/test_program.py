from __future__ import annotations

import errno
import subprocess
import sys
from importlib.metadata import entry_points

import click
import pytest
from click.testing import CliRunner

import pyrep
from pyrep.cli import main
from pyrep.errors import RefusedError


def test_the_installed_command_is_this_one() -> None:
    (script,) = entry_points(group="console_scripts", name="pyrep")
    assert script.load() is main


def test_version_and_help_say_what_there_is() -> None:
    runner = CliRunner()
    assert runner.invoke(main, ["--version"]).output == f"pyrep, version {pyrep.__version__}\n"
    for option in ("-h", "--help"):
        done = runner.invoke(main, [option])
        assert done.exit_code == 0
        assert "demo" in done.output


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyrep", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"pyrep, version {pyrep.__version__}\n"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Return a list: the command `fail` raises what is put in."""
    errors: list[Exception] = []

    @click.command()
    def fail() -> None:
        raise errors[0]

    monkeypatch.setitem(main.commands, "fail", fail)
    return errors


def test_an_error_is_shown_with_its_hint_and_gives_its_own_exit_status(
    failing: list[Exception],
) -> None:
    failing.append(RefusedError("cannot split pair 7: it is COPY", hint="wait until it is DUPLEX"))
    done = CliRunner().invoke(main, ["fail"])
    assert done.exit_code == RefusedError.exit_code
    assert done.stderr == (
        "pyrep: cannot split pair 7: it is COPY\nhint: wait until it is DUPLEX\n"
    )
    assert not done.stdout


def test_a_host_file_that_fails_is_told_without_a_traceback(failing: list[Exception]) -> None:
    failing.append(OSError(errno.ENOSPC, "No space left on device", "/somewhere"))
    done = CliRunner().invoke(main, ["fail"])
    assert done.exit_code == 10
    assert done.stderr == "pyrep: [Errno 28] No space left on device: '/somewhere'\n"


def test_another_exception_is_a_bug_and_keeps_its_traceback(failing: list[Exception]) -> None:
    failing.append(ZeroDivisionError())
    assert isinstance(CliRunner().invoke(main, ["fail"]).exception, ZeroDivisionError)
