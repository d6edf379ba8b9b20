"""The matrix as text: what `decide` says of every command and state, for docs/commands.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pyrep.model.pair import CopyType, Direction, PairStatus, SplitCause
from pyrep.model.situation import Command, Decision, RemoteView, Situation
from pyrep.model.transitions import decide

__all__ = ["matrix_markdown"]

_WAITING = (
    SplitCause.PATH_LOST,
    SplitCause.CONGESTED,
    SplitCause.UNCLEAN,
    SplitCause.REPAIR,
)
_STAYING = (
    SplitCause.REQUESTED,
    SplitCause.PROTECT,
    SplitCause.DEVICE_ERROR,
    SplitCause.SPLIT_BRAIN,
)

_REQUESTED = SplitCause.REQUESTED

_BY_GUARD = (
    (Command.CREATE, PairStatus.SIMPLEX),
    (Command.SPLIT, PairStatus.DUPLEX),
    (Command.RESYNC_FORWARD, PairStatus.SPLIT),
    (Command.RESYNC_REVERSE, PairStatus.SPLIT),
    (Command.DISSOLVE, PairStatus.SPLIT),
)
"""Each command with the status in which only a guard can refuse it."""

_CASCADES: Sequence[tuple[str, RemoteView | None]] = (
    ("none", None),
    ("DUPLEX", RemoteView(status=PairStatus.DUPLEX)),
    ("COPY, forward", RemoteView(status=PairStatus.COPY, consistent=False)),
    (
        "COPY, reverse",
        RemoteView(status=PairStatus.COPY, direction=Direction.REVERSE, consistent=False),
    ),
    ("SPLIT", RemoteView(status=PairStatus.SPLIT)),
    ("SPLIT, forward copy broken off", RemoteView(status=PairStatus.SPLIT, consistent=False)),
)


def matrix_markdown() -> str:
    """Return the tables of all outcomes as Markdown, with the reasons numbered below.

    Four tables: local pairs and remote pairs by their own state, then local pairs by the remote
    pair of their PVOL (the cascade guard), then what other facts refuse.
    """
    notes = _Notes()
    sections = []
    for copy_type, title in ((CopyType.LOCAL, "Local pairs"), (CopyType.REMOTE, "Remote pairs")):
        rows = [(name, [(one, now) for one in Command]) for name, now in _states(copy_type)]
        sections.append(_table(f"### {title}", "state of the pair", list(Command), rows, notes))
    columns = [f"{command} of a {status} pair" for command, status in _BY_GUARD]
    cascade = [(name, _guarded(_local(remote=view))) for name, view in _CASCADES]
    sections.append(
        _table(
            "### Local pairs whose PVOL is the SVOL of a remote pair (cascade guard)",
            "state of the remote pair",
            columns,
            cascade,
            notes,
        )
    )
    facts = [(name, _guarded(now)) for name, now in _facts()]
    sections.append(_table("### What else refuses", "state of affairs", columns, facts, notes))
    return "\n\n".join([*sections, notes.text()]) + "\n"


class _Notes:
    """Reasons and hints, each numbered once, in the order in which they come up."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def cell(self, decision: Decision) -> str:
        if not decision.reason:
            return decision.outcome.value
        hint = f" (hint: {decision.hint})" if decision.hint else ""
        text = f"{decision.outcome}: {decision.reason}{hint}"
        number = self._numbers.setdefault(text, len(self._numbers) + 1)
        return f"{decision.outcome} [{number}]"

    def text(self) -> str:
        return "\n".join(f"{number}. {text}" for text, number in self._numbers.items())


def _table(
    title: str,
    corner: str,
    columns: Sequence[str],
    rows: Iterable[tuple[str, list[tuple[Command, Situation]]]],
    notes: _Notes,
) -> str:
    lines = [title, "", f"| {corner} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, asked in rows:
        cells = [notes.cell(decide(command, situation)) for command, situation in asked]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _guarded(now: Situation) -> list[tuple[Command, Situation]]:
    """Return each command with the status in which only a guard can refuse it."""
    return [
        (
            command,
            replace(now, status=status, cause=_REQUESTED if status is PairStatus.SPLIT else None),
        )
        for command, status in _BY_GUARD
    ]


def _local(*, remote: RemoteView | None) -> Situation:
    return Situation(copy_type=CopyType.LOCAL, status=PairStatus.SIMPLEX, remote=remote)


def _states(copy_type: CopyType) -> list[tuple[str, Situation]]:
    def state(
        status: PairStatus,
        direction: Direction = Direction.FORWARD,
        cause: SplitCause | None = None,
    ) -> Situation:
        return Situation(copy_type=copy_type, status=status, direction=direction, cause=cause)

    def broken_off(direction: Direction) -> Situation:
        return replace(state(PairStatus.SPLIT, direction, _REQUESTED), target_consistent=False)

    causes = [
        (f"SPLIT ({', '.join(group)})", state(PairStatus.SPLIT, cause=group[0]))
        for group in (_STAYING, _WAITING)
    ]
    return [
        ("SIMPLEX (no pair)", state(PairStatus.SIMPLEX)),
        ("COPY, forward", state(PairStatus.COPY)),
        ("COPY, reverse", state(PairStatus.COPY, Direction.REVERSE)),
        ("DUPLEX", state(PairStatus.DUPLEX)),
        *causes,
        ("SPLIT (requested), forward copy broken off", broken_off(Direction.FORWARD)),
        ("SPLIT (requested), reverse copy broken off", broken_off(Direction.REVERSE)),
    ]


def _facts() -> list[tuple[str, Situation]]:
    now = _local(remote=None)
    return [
        ("another pair copies back into a shared volume", replace(now, sibling_reverse=True)),
        ("another pair copies out of the PVOL", replace(now, sibling_copying=True)),
        ("another pair left the PVOL half-way", replace(now, source_consistent=False)),
        ("the same, forced by name", replace(now, source_consistent=False, forced=True)),
        ("another pair left the SVOL half-way", replace(now, reverse_source_consistent=False)),
        ("the SVOL's generation is in use", replace(now, svol_pins=("a view",))),
    ]
