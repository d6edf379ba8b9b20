"""The agent that runs a command for each thing a workflow asks of the host."""

from __future__ import annotations

import copy
import logging
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO

from pyrep.engine.cancel import Cancel
from pyrep.errors import CancelledError, HostAgentError, InvalidArgumentError
from pyrep.model.ids import VolumeId
from pyrep.seams import HostAgent

logger = logging.getLogger(__name__)

PLACEHOLDER = "{volume}"
STDERR_LINES_SHOWN = 5
STDERR_BYTES_READ = 4096
_LOOK_S = 0.1


class CommandHostAgent(HostAgent):
    """Run one command per call, without a shell, and judge it by its exit status.

    Args:
        stop: Command that stops the application, as a list of its arguments. In each of them
            `{volume}` is replaced by the volume's id. None: nothing is done for this call, and so
            for each of the others.
        start: Command that starts the application. What it leaves running in the background is
            left alone; such a process should have its own standard error.
        unmount: Command that unmounts the volume.
        mount: Command that mounts the volume.
        recover: Command that runs the application's recovery.
        timeout_s: Seconds that one command may take. Then it and every process of its group are
            killed: a command that has to clean up when it takes too long needs a limit of its own.

    Raises:
        InvalidArgumentError: a command is empty or a single string, or `timeout_s` isn't positive.

    Threads: any; calls for different volumes may run beside each other.
    """

    def __init__(
        self,
        *,
        stop: Sequence[str] | None = None,
        start: Sequence[str] | None = None,
        unmount: Sequence[str] | None = None,
        mount: Sequence[str] | None = None,
        recover: Sequence[str] | None = None,
        timeout_s: float = 60,
    ) -> None:
        if not timeout_s > 0:
            raise InvalidArgumentError(f"a host agent's timeout_s must be above 0, not {timeout_s}")
        self._timeout_s = timeout_s
        self._cancel: Cancel | None = None
        self._stop = _checked("stop", stop)
        self._start = _checked("start", start)
        self._unmount = _checked("unmount", unmount)
        self._mount = _checked("mount", mount)
        self._recover = _checked("recover", recover)

    def cancelled_by(self, cancel: Cancel) -> CommandHostAgent:
        """Return an agent with the same commands, of which `cancel` kills the one that stops.

        That one may take long, and may have been done by half: whoever undoes it starts the
        application. The others go to their end: of what is killed amid a mount nobody knows.
        """
        other = copy.copy(self)
        other._cancel = cancel  # noqa: SLF001 (a copy of this class's own)
        return other

    def stop(self, volume_id: VolumeId) -> None:
        """Run the stop command.

        Raises:
            HostAgentError: it could not be run, failed, or took too long; so for the other calls.
                It may be called again.
            CancelledError: it was killed, see `cancelled_by`.
        """
        self._run("stop", self._stop, volume_id, self._cancel)

    def start(self, volume_id: VolumeId) -> None:
        """Run the start command."""
        self._run("start", self._start, volume_id)

    def unmount(self, volume_id: VolumeId) -> None:
        """Run the unmount command."""
        self._run("unmount", self._unmount, volume_id)

    def mount(self, volume_id: VolumeId) -> None:
        """Run the mount command."""
        self._run("mount", self._mount, volume_id)

    def recover(self, volume_id: VolumeId) -> None:
        """Run the recover command."""
        self._run("recover", self._recover, volume_id)

    def _run(
        self,
        verb: str,
        command: tuple[str, ...],
        volume_id: VolumeId,
        cancel: Cancel | None = None,
    ) -> None:
        if not command:
            return
        argv = [argument.replace(PLACEHOLDER, volume_id) for argument in command]
        what = f"{verb} command for volume {volume_id}"
        logger.info("host.%s volume=%s command=%s", verb, volume_id, argv)
        # A file, not a pipe: a daemon that a start command leaves behind holds its standard error
        # open, and waiting for the end of a pipe would be waiting for the daemon.
        with tempfile.TemporaryFile() as stderr:
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    start_new_session=True,
                )
            except OSError as error:
                raise HostAgentError(
                    f"cannot run the {what}: {argv[0]}: {error.strerror}",
                    hint="commands run without a shell: give the program's path and its arguments",
                ) from error
            try:
                status = _wait(process, self._timeout_s, what, cancel)
            except subprocess.TimeoutExpired as error:
                _kill_group(process)
                raise HostAgentError(
                    f"the {what} took longer than {self._timeout_s:g} s and was killed"
                    + _last_lines(stderr),
                    hint="look at the application on the host, or give the agent more time",
                ) from error
            except BaseException:
                # Ctrl-C goes to our process group, not to the command's: it would go on unwatched.
                _kill_group(process)
                raise
            if status != 0:
                ending = f"exit status {status}" if status > 0 else f"signal {-status}"
                raise HostAgentError(
                    f"the {what} failed: {argv[0]}: {ending}" + _last_lines(stderr),
                    hint=f"run it by hand on the host: {shlex.join(argv)}",
                )


def _checked(verb: str, command: Sequence[str] | None) -> tuple[str, ...]:
    """Return the command as a tuple, empty for none."""
    if command is None:
        return ()
    if isinstance(command, str) or not command or not command[0]:
        raise InvalidArgumentError(
            f"the host agent's {verb} command isn't a list of arguments: {command!r}",
            hint='commands run without a shell: ["systemctl", "stop", "app"], not one string',
        )
    return tuple(command)


def _wait(
    process: subprocess.Popen[bytes], timeout_s: float, what: str, cancel: Cancel | None
) -> int:
    """Return the exit status. TimeoutExpired, CancelledError: it runs still."""
    if cancel is None:
        return process.wait(timeout_s)
    end_s = time.monotonic() + timeout_s
    while True:
        if cancel.is_cancelled:
            raise CancelledError(f"the {what} was cancelled, and killed")
        left_s = max(end_s - time.monotonic(), 0)
        try:
            return process.wait(min(_LOOK_S, left_s))
        except subprocess.TimeoutExpired:
            if left_s <= _LOOK_S:
                raise


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # Once the leader is reaped, its group's number may be somebody else's.
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_lines(stderr: IO[bytes]) -> str:
    """Return the last lines the command wrote to standard error, ready to be appended."""
    size_bytes = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size_bytes - STDERR_BYTES_READ))
    lines = stderr.read().decode(errors="replace").strip().splitlines()[-STDERR_LINES_SHOWN:]
    return "".join(f"\n  {line}" for line in lines)
