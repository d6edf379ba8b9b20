"""The demonstration's course, phase by phase; after each, everything is compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pyrep import Progress
from pyrep.cli.demo.backups import take_backup
from pyrep.cli.demo.inspection import Inspector, Task
from pyrep.cli.demo.outcome import Outcome, PhaseOutcome
from pyrep.cli.demo.restores import restore_files, restore_volume
from pyrep.cli.demo.scale import Scale
from pyrep.cli.demo.sites import open_sites
from pyrep.cli.demo.stage import Stage
from pyrep.cli.demo.timeline import HOLD_STEPS, Timeline
from pyrep.cli.demo.tools import Tools
from pyrep.cli.demo.watcher import Watcher
from pyrep.cli.demo.writing import change, write_files, write_first_files, write_other
from pyrep.model import format_bytes

__all__ = ["run_demo"]


_Act = Callable[[Stage], Sequence[Task] | None]


def _phases(scale: Scale) -> list[tuple[str, _Act]]:
    changed, other = format_bytes(scale.changed_bytes), format_bytes(scale.other_bytes)
    return [
        ("make ext4 and the first files", write_first_files),
        ("mirror both volumes: initial copies", lambda stage: stage.sites.mirror()),
        ("write files to the mirrored volume", write_files),
        ("back up: generation 1 (Fig. 4)", take_backup),
        (f"change {changed} of a file, drop a table, delete a tree", change),
        ("back up: generation 2 (Fig. 4)", take_backup),
        ("restore tree, table, file: generation 1 (Fig. 5)", restore_files),
        ("restore the volume: generation 2 (Fig. 6)", restore_volume),
        (f"write {other} more, delete another tree", write_other),
        ("restore the volume: generation 2 once more", restore_volume),
    ]


def run_demo(directory: Path, *, scale: Scale, tools: Tools, watcher: Watcher) -> Outcome:
    """Run the demonstration in an empty directory; it ends early when something differs.

    Raises:
        PyrepError: a command or a workflow failed; everything is closed.
    """
    outcome = Outcome(volume_bytes=scale.volume_bytes)
    scratch = directory / "scratch"
    scratch.mkdir()
    with open_sites(directory, scale.volume_bytes) as sites, Timeline(sites.statuses) as timeline:
        stage = Stage(
            sites=sites,
            scale=scale,
            tools=tools,
            scratch=scratch,
            inspector=Inspector(sites, scale, tools, scratch),
            timeline=timeline,
            outcome=outcome,
            step=watcher.step,
        )
        phases = _phases(scale)
        watcher.sites_are_up([(one.system_id, one.pid) for one in sites.processes])
        watcher.run_begins(len(phases), sites.crossed_bytes)
        for number, (title, act) in enumerate(phases, 1):
            stage.title = title
            _perform(number, act, stage, watcher)
            if outcome.differences:
                break
        timeline.look()
        outcome.moments = timeline.moments
    return outcome


def _perform(number: int, act: _Act, stage: Stage, watcher: Watcher) -> None:
    watcher.phase_begins(stage.title)
    stage.step = _Teller(number, stage.timeline, watcher).tell
    stage.timeline.doing(number)
    start_s, start_bytes = time.monotonic(), stage.sites.crossed_bytes()
    more = act(stage) or ()
    done_s, done_bytes = time.monotonic(), stage.sites.crossed_bytes()
    stage.timeline.doing(number)
    watcher.step(Progress(what="comparing everything"))
    checks = stage.inspector.inspect(stage.expected, more)
    outcome = PhaseOutcome(
        title=stage.title,
        seconds=done_s - start_s,
        checking_s=time.monotonic() - done_s,
        crossed_bytes=done_bytes - start_bytes,
        checks=tuple(checks),
    )
    stage.outcome.phases.append(outcome)
    watcher.phase_ends(outcome)


class _Teller:
    """Passes progress on, what comes inside a hold only when that is over."""

    def __init__(self, number: int, timeline: Timeline, watcher: Watcher) -> None:
        self._number = number
        self._timeline = timeline
        self._watcher = watcher
        self._held: list[Progress] = []

    def tell(self, progress: Progress) -> None:
        self._timeline.doing(self._number, progress.step)
        self._held.append(progress)
        if progress.step not in HOLD_STEPS:
            for one in self._held:
                self._watcher.step(one)
            self._held.clear()
