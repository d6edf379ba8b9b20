from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrep.engine import Cancel
from pyrep.errors import CancelledError, HostAgentError, InvalidArgumentError
from pyrep.host import CommandHostAgent
from pyrep.model.ids import VolumeId

VOLUME = VolumeId("105a")
VERBS = ("stop", "start", "unmount", "mount", "recover")


def shell(script: str, *arguments: str) -> list[str]:
    """Return the argument list that runs a script, its $1, $2 ... being `arguments`."""
    return ["/bin/sh", "-c", script, "sh", *arguments]


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_each_call_runs_its_own_command_with_the_volume_put_in(tmp_path: Path, verb: str) -> None:
    out = tmp_path / "out"

    def command(name: str) -> list[str]:
        return shell('echo "$1 $2" >> "$3"', name, "{volume}", str(out))

    agent = CommandHostAgent(
        stop=command("stop"),
        start=command("start"),
        unmount=command("unmount"),
        mount=command("mount"),
        recover=command("recover"),
    )
    getattr(agent, verb)(VOLUME)
    assert out.read_text() == f"{verb} 105a\n"


def test_the_placeholder_is_replaced_inside_an_argument_too(tmp_path: Path) -> None:
    agent = CommandHostAgent(mount=["/usr/bin/env", "mkdir", f"{tmp_path}/mnt-{{volume}}"])
    agent.mount(VOLUME)
    assert (tmp_path / "mnt-105a").is_dir()


@pytest.mark.parametrize("verb", VERBS)
def test_a_call_without_a_command_does_nothing(verb: str) -> None:
    getattr(CommandHostAgent(), verb)(VOLUME)


def test_no_shell_interprets_the_arguments(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    CommandHostAgent(stop=["/usr/bin/env", "true", f"; touch {victim}", "$(id)"]).stop(VOLUME)
    assert not victim.exists()


def test_a_command_has_no_input_to_wait_for() -> None:
    CommandHostAgent(stop=["/usr/bin/env", "cat"]).stop(VOLUME)


def test_a_failing_command_is_reported_with_its_status_and_the_end_of_its_messages() -> None:
    agent = CommandHostAgent(
        unmount=shell('for i in 1 2 3 4 5 6 7; do echo "line $i" >&2; done; exit 32')
    )
    with pytest.raises(HostAgentError) as caught:
        agent.unmount(VOLUME)
    message = str(caught.value)
    assert message.startswith("the unmount command for volume 105a failed: /bin/sh: exit status 32")
    assert "line 2" not in message
    assert message.endswith("line 3\n  line 4\n  line 5\n  line 6\n  line 7")


def test_messages_that_are_not_utf8_are_shown_all_the_same() -> None:
    agent = CommandHostAgent(stop=shell(r"printf 'caf\351\n' >&2; exit 1"))
    with pytest.raises(HostAgentError, match="caf\ufffd"):
        agent.stop(VOLUME)


def test_a_command_that_a_signal_ended_has_failed() -> None:
    agent = CommandHostAgent(stop=shell("kill -TERM $$"))
    with pytest.raises(HostAgentError, match="signal 15"):
        agent.stop(VOLUME)


def test_a_program_that_does_not_exist_is_an_error_with_a_hint() -> None:
    agent = CommandHostAgent(start=["/nonexistent/program"])
    with pytest.raises(HostAgentError, match="No such file") as caught:
        agent.start(VOLUME)
    assert caught.value.hint


def test_a_command_that_takes_too_long_is_an_error_that_says_so() -> None:
    agent = CommandHostAgent(stop=shell("echo stopping >&2; exec sleep 600"), timeout_s=0.5)
    with pytest.raises(HostAgentError, match=r"took longer than 0\.5 s and was killed"):
        agent.stop(VOLUME)


def interrupt_waits(
    monkeypatch: pytest.MonkeyPatch, ready: threading.Event, error: Callable[[], BaseException]
) -> None:
    """Let the wait for a command end in `error` as soon as `ready` is set, instead of by time."""
    wait = subprocess.Popen.wait

    def interrupted(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if timeout is None:
            return wait(self)
        assert ready.wait(timeout)
        raise error()

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (lambda: subprocess.TimeoutExpired("sh", 60), HostAgentError),
        (KeyboardInterrupt, KeyboardInterrupt),
    ],
    ids=["time-out", "Ctrl-C"],
)
def test_what_ends_a_wait_kills_the_command_and_its_children(
    monkeypatch: pytest.MonkeyPatch,
    fifo: Path,
    error: Callable[[], BaseException],
    expected: type[BaseException],
) -> None:
    # The child holds the pipe open for writing: reading it to its end needs the child dead.
    ready = threading.Event()
    content = bytearray()

    def read_to_end() -> None:
        with fifo.open("rb", buffering=0) as pipe:
            content.extend(pipe.read(1))
            ready.set()
            content.extend(pipe.read())

    reader = threading.Thread(target=read_to_end, name="test-fifo-reader")
    reader.start()
    interrupt_waits(monkeypatch, ready, error)
    agent = CommandHostAgent(stop=shell('(echo; exec sleep 600) > "$1" & wait', str(fifo)))
    with pytest.raises(expected):
        agent.stop(VOLUME)
    reader.join()
    assert content == b"\n"


def test_a_daemon_that_a_start_command_leaves_behind_neither_holds_the_call_nor_dies(
    fifo: Path,
) -> None:
    agent = CommandHostAgent(start=shell('(read -r word; test "$word" = end) < "$1" &', str(fifo)))
    agent.start(VOLUME)
    # Opening for writing waits for the daemon's end of the pipe, and so proves that it lives.
    fifo.write_text("end\n")


@pytest.mark.parametrize("command", ["systemctl stop app", [], [""]])
def test_a_command_that_is_no_list_of_arguments_is_refused(command: list[str] | str) -> None:
    with pytest.raises(InvalidArgumentError, match="stop command"):
        CommandHostAgent(stop=command)


def test_a_cancel_kills_the_command_that_stops_and_no_other(fifo: Path, tmp_path: Path) -> None:
    cancel, out = Cancel(), tmp_path / "out"
    agent = CommandHostAgent(
        stop=shell('echo begun > "$1"; exec sleep 600', str(fifo)),
        unmount=shell('echo unmounted > "$1"', str(out)),
    ).cancelled_by(cancel)

    def cancel_once_begun() -> None:
        fifo.read_text()
        cancel.cancel()

    canceller = threading.Thread(target=cancel_once_begun)
    canceller.start()
    with pytest.raises(CancelledError, match="stop command for volume 105a was cancelled"):
        agent.stop(VOLUME)
    canceller.join()
    agent.unmount(VOLUME)
    assert out.read_text() == "unmounted\n"


def test_a_stop_that_may_be_cancelled_has_its_limit_all_the_same() -> None:
    agent = CommandHostAgent(stop=shell("exec sleep 600"), timeout_s=0.3).cancelled_by(Cancel())
    with pytest.raises(HostAgentError, match=r"took longer than 0\.3 s and was killed"):
        agent.stop(VOLUME)


@pytest.mark.parametrize("timeout_s", [0, -1, math.nan])
def test_a_limit_that_is_not_above_zero_is_refused(timeout_s: float) -> None:
    with pytest.raises(InvalidArgumentError, match="timeout_s"):
        CommandHostAgent(stop=[sys.executable], timeout_s=timeout_s)
