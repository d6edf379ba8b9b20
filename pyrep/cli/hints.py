"""Hints in the words of the command line: the engine's name calls of the Python package."""

from __future__ import annotations

import re

__all__ = ["in_commands"]

_Q = r"""["']([^"']+)["']"""

_COMMANDS: tuple[tuple[str, str], ...] = (
    (r"pair\.pause_copy\(\)", "pyrep pair pause"),
    (r"pair\.resume_copy\(\)", "pyrep pair resume"),
    (r"pair\.split\(\)", "pyrep pair split"),
    (r"pair\.dissolve\(without_peer=True\)", "pyrep pair dissolve --without-peer"),
    (
        r"pair\.dissolve\(without_peer=True, force=Force\.INCONSISTENT_LEFT\)",
        "pyrep pair dissolve --without-peer --force inconsistent_left",
    ),
    (r"pair\.dissolve\(\)", "pyrep pair dissolve"),
    (r"pair\.estimate\(\)", "pyrep pair resync --dry-run"),
    (r"pair\.repair\(result\)", "pyrep pair verify --repair"),
    (r"pair\.resync\(\)", "pyrep pair resync"),
    (r"pair\.resync\(direction=Direction\.REVERSE\)", "pyrep pair resync --direction reverse"),
    (r"pair\.resync\(direction=\.\.\.\)", "pyrep pair resync --direction ..."),
    (rf"pair\.resync\(discard={_Q}\)", r"pyrep pair resync --discard \1"),
    (
        r"system\.kept\(generation_id\)\.digest\(again=True\)",
        "pyrep generation digest --again",
    ),
    (r"system\.kept\(generation_id\)\.digest\(\)", "pyrep generation digest"),
    (
        rf"abandon\(system, {_Q}, without_peer=True\)",
        r"pyrep workflow abandon \1 --without-peer",
    ),
    (rf"abandon\(system, {_Q}\)", r"pyrep workflow abandon \1"),
    (rf"resume\(system, {_Q}\)", r"pyrep workflow resume \1"),
    (r"system\.paths\(\)", "pyrep path list"),
    (r"system\.pairs\(\)", "pyrep pair list"),
    (r"pair\.status\(\)", "pyrep pair show"),
    (r"list_workflows\(system\)", "pyrep workflow list"),
    (r"repair_system\(directory, system_id=\.\.\.\)", "pyrep system repair --id"),
    (r"repair_system\(directory\)", "pyrep system repair"),
    (r"StorageSystem\.create\b", "pyrep system create"),
)


def in_commands(hint: str) -> str:
    """Return a hint with the command in each place where it names a call; others stay."""
    for call, command in _COMMANDS:
        hint = re.sub(call, command, hint)
    return hint
