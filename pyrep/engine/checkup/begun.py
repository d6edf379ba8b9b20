"""The mark of a repair that has begun: until it has ended, nothing opens the system.

Tables and bitmap files can't change at once. What a repair is about to do is durable here first,
so that one that was stopped is found, and does it all again: each remedy may be done twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pyrep.engine.backing import refused, sync_directory
from pyrep.engine.checkup.finding import Remedy
from pyrep.engine.directory import REPAIRING
from pyrep.errors import FormatError

__all__ = ["BegunRepair", "load_begun", "remove_begun", "save_begun"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunRepair:
    """What a repair has begun to do.

    Attributes:
        kept: name of the directory with the tables as they were before; tables are made anew from
            these alone, since those in their place may be half of this repair.
        system_id: the id that the repair was told.
        remedies: each with the key of its record, in the order of doing.
    """

    kept: str
    system_id: str | None
    remedies: tuple[tuple[Remedy, tuple[str, ...]], ...] = ()

    def adding(self, remedies: Iterable[tuple[Remedy, tuple[str, ...]]]) -> BegunRepair:
        """Return it with more to do; what is in it already stays where it is."""
        return BegunRepair(
            kept=self.kept,
            system_id=self.system_id,
            remedies=tuple(dict.fromkeys([*self.remedies, *remedies])),
        )


def load_begun(directory: Path) -> BegunRepair | None:
    """Return the repair that hasn't ended; None: there is none.

    Raises:
        FormatError: the mark can't be read.
    """
    path = directory / REPAIRING
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        begun = BegunRepair(
            kept=str(found["kept"]),
            system_id=found["system_id"],
            remedies=tuple((Remedy(one), tuple(key)) for one, *key in found["remedies"]),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(f"read {path}", error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{path} is damaged: it says what an interrupted repair was doing",
            hint="remove it, and pyrep.db too: a repair then makes the tables anew and trusts no "
            "pair; before-repair-N/ has tables as they were",
        ) from error
    if not (directory / begun.kept).is_dir():
        raise FormatError(
            f"{directory / begun.kept} is missing: the tables as they were before the repair",
            hint="put it back",
        )
    return begun


def save_begun(directory: Path, begun: BegunRepair) -> None:
    """Make the mark durable, over an older one. DeviceError: the older one, or none, is there."""
    path = directory / REPAIRING
    new = path.with_name(f"{REPAIRING}.new")
    text = json.dumps(
        {
            "kept": begun.kept,
            "system_id": begun.system_id,
            "remedies": [[one, *key] for one, key in begun.remedies],
        }
    )
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        sync_directory(directory)
    except OSError as error:
        raise refused(f"note in {path} what the repair does", error) from error


def remove_begun(directory: Path) -> None:
    """End the repair: the system may be opened."""
    path = directory / REPAIRING
    try:
        path.unlink(missing_ok=True)
        sync_directory(directory)
    except OSError as error:
        raise refused(f"remove {path}", error) from error
