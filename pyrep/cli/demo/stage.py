"""What the acts of the demonstration share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pyrep import Progress
from pyrep.cli.demo.expected import Expected
from pyrep.cli.demo.inspection import Inspector
from pyrep.cli.demo.outcome import Outcome
from pyrep.cli.demo.records import Place
from pyrep.cli.demo.scale import Scale
from pyrep.cli.demo.sites import Sites
from pyrep.cli.demo.timeline import Timeline
from pyrep.cli.demo.tools import Tools

__all__ = ["Stage"]


@dataclass(slots=True, kw_only=True)
class Stage:
    """The systems at work, what they have to hold, and what came of it so far.

    Attributes:
        title: of the phase that runs.
        scratch: directory for the hosts' own files.
        step: told how far an act is.
        places: where numbered records are written, in this order.
    """

    sites: Sites
    scale: Scale
    tools: Tools
    scratch: Path
    inspector: Inspector
    timeline: Timeline
    outcome: Outcome
    step: Callable[[Progress], None]
    title: str = ""
    expected: Expected = field(default_factory=Expected)
    places: tuple[Place, ...] = ()
