"""The demonstration, small: it passes, and it fails when something is broken on purpose."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from pyrep import Progress
from pyrep.cli import main
from pyrep.cli.demo import Outcome, Scale, Tools, run_demo
from pyrep.cli.demo.bigfile import BigFile
from pyrep.cli.demo.images import read_data
from pyrep.cli.demo.outcome import PhaseOutcome
from pyrep.errors import MissingLibraryError, NotServedError
from pyrep.model import KIB, MIB

SMALL = Scale(
    volume_bytes=512 * MIB,
    library_bytes=2 * MIB,
    row_count=2000,
    big_bytes=8 * MIB,
    changed_bytes=64 * KIB,
    sparse_bytes=8 * MIB,
    other_bytes=2 * MIB,
    record_slots=64,
    records_around=10,
)


@pytest.fixture
def tools() -> Tools:
    try:
        return Tools.find()
    except MissingLibraryError as error:
        pytest.skip(str(error.hint))


class Saboteur:
    """A watcher that does some harm when a phase has ended."""

    def __init__(self, after: int = 0, harm: Callable[[], object] = int) -> None:
        self.titles: list[str] = []
        self.steps: list[int] = []
        self.pids: list[int] = []
        self._after = after
        self._harm = harm

    def run_begins(self, phase_count: int, crossed_bytes: Callable[[], int]) -> None:
        assert phase_count == 10
        assert crossed_bytes() == 0

    def sites_are_up(self, processes: Sequence[tuple[str, int]]) -> None:
        self.pids = [pid for _, pid in processes]
        assert [name for name, _ in processes] == ["100a", "100b"]
        for pid in self.pids:  # two, and the path between them is mutual TLS
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            assert b"serve" in words
            assert any(one.startswith(b"--certificate=") for one in words)
            assert b"--insecure-plain-tcp" not in words
        assert len({os.getpid(), *self.pids}) == 3

    def phase_begins(self, title: str) -> None:
        self.titles.append(title)

    def step(self, progress: Progress) -> None:
        if progress.step is not None and [progress.step] != self.steps[-1:]:
            self.steps.append(progress.step)

    def phase_ends(self, phase: PhaseOutcome) -> None:
        assert phase.title == self.titles[-1]
        if len(self.titles) == self._after:
            self._harm()


def run(directory: Path, tools: Tools, watcher: Saboteur) -> Outcome:
    return run_demo(directory, scale=SMALL, tools=tools, watcher=watcher)


def image(directory: Path, volume_id: str) -> Path:
    system = "100a" if volume_id.endswith("a") else "100b"
    return directory / system / "volumes" / f"{volume_id}.img"


def invert(path: Path, offset: int) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        data[offset] ^= 0xFF


def find(path: Path, content: bytes) -> int:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        return data.find(content)


def test_it_passes_and_takes_every_step_of_the_three_figures(tmp_path: Path, tools: Tools) -> None:
    watcher = Saboteur()
    outcome = run(tmp_path, tools, watcher)
    assert outcome.differences == []
    assert len(outcome.phases) == 10
    assert all(phase.checks for phase in outcome.phases)
    volume_steps = [600, 620, 630, 610, 640, 650, 660, 670, 560]
    steps = iter(watcher.steps)
    for step in (
        *(400, 420, 470),
        *(400, 420, 470),
        *(500, 510, 520, 530, 540, 550, 560),
        *volume_steps,
        *volume_steps,
    ):
        assert step in steps, f"{step} isn't in its place among {watcher.steps}"
    for transfer in outcome.transfers:
        assert 0 < transfer.crossed_bytes <= transfer.limit_bytes
    for one in outcome.backups:
        assert one.before_count <= one.second_count <= one.first_count < one.after_count
        assert one.report.hold_ms > 0
    seen = {status for moment in outcome.moments for status in moment.statuses.values()}
    assert {"DUPLEX", "SPLIT"} <= seen


def test_a_mirror_that_differs_by_one_bit_ends_it(tmp_path: Path, tools: Tools) -> None:
    watcher = Saboteur(3, lambda: invert(image(tmp_path, "205b"), 300 * MIB))
    outcome = run(tmp_path, tools, watcher)
    assert len(outcome.phases) == 4
    assert any("205a and 205b byte by byte" in line for line in outcome.differences)


def test_a_generation_that_changes_ends_it(tmp_path: Path, tools: Tools) -> None:
    watcher = Saboteur(4, lambda: invert(image(tmp_path, "106b"), 500 * MIB))
    outcome = run(tmp_path, tools, watcher)
    assert outcome.phases[-1].differences == [
        "generation 1 as it was taken: 106b has changed since"
    ]


def test_a_file_system_that_is_not_clean_ends_it(tmp_path: Path, tools: Tools) -> None:
    # The same on every side and read by nobody: only e2fsck tells.
    def harm() -> None:
        free_block = SMALL.volume_bytes // 4096 - 100
        debugfs = Path(tools.e2fsck).with_name("debugfs")
        first = image(tmp_path, "105a")
        subprocess.run([debugfs, "-w", "-R", f"setb {free_block}", first], check=True)
        for volume_id in ("105b", "106b", "107b"):
            with image(tmp_path, volume_id).open("r+b") as file:
                for offset, data in read_data(first):
                    file.seek(offset)
                    file.write(data)

    outcome = run(tmp_path, tools, Saboteur(3, harm))
    (phase,) = [one for one in outcome.phases if one.differences]
    damaged = [check.what for check in phase.checks if check.differences]
    assert damaged == ["e2fsck -fn on 105a", "e2fsck -fn on 106b"]


def test_content_that_is_wrong_on_both_sides_ends_it(tmp_path: Path, tools: Tools) -> None:
    # Mirrors are equal and the file system is clean: only the demonstration's own record tells.
    def harm() -> None:
        content = BigFile(seed=3, size=SMALL.big_bytes).span(5)[:64]
        for volume_id in ("105a", "105b", "106b", "107b"):
            path = image(tmp_path, volume_id)
            invert(path, find(path, content) + 7)

    outcome = run(tmp_path, tools, Saboteur(3, harm))
    assert outcome.phases[-1].differences == [
        "files on 105a: /srv/data/big.bin: content differs in MiB 5",
        "files on generation 1: /srv/data/big.bin: content differs in MiB 5",
    ]


def test_its_processes_end_whatever_happens(tmp_path: Path, tools: Tools) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    watcher = Saboteur(2, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tools, watcher)
    assert len(watcher.pids) == 2
    for pid in watcher.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_that_is_killed_ends_it_with_an_error(tmp_path: Path, tools: Tools) -> None:
    watcher = Saboteur(2, lambda: os.kill(watcher.pids[0], signal.SIGKILL))
    with pytest.raises(NotServedError):
        run(tmp_path, tools, watcher)


@pytest.fixture
def small_command(monkeypatch: pytest.MonkeyPatch, tools: Tools) -> Tools:
    monkeypatch.setattr("pyrep.cli.demo.command.Scale", lambda: SMALL)
    return tools


@pytest.mark.usefixtures("small_command")
def test_the_command_reports_and_cleans_up(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    done = CliRunner().invoke(main, ["demo", "--directory", str(directory)])
    assert done.exit_code == 0, done.output
    assert "all equal." in done.output.splitlines()[-1]
    assert not directory.exists()


@pytest.mark.usefixtures("small_command")
def test_more_that_crosses_than_differs_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_differs(*_: object) -> int:
        return 0

    monkeypatch.setattr("pyrep.cli.demo.restores.count_differing_chunks", none_differs)
    monkeypatch.setattr("pyrep.cli.demo.outcome.MIB", 0)
    done = CliRunner().invoke(main, ["demo", "--directory", str(tmp_path), "--keep"])
    assert done.exit_code == 1
    assert "0 B are allowed" in done.output
    assert "FAILED" in done.output
    assert image(tmp_path, "105a").exists()
