"""A copy of a system's directory, and what the reference said of it: for putting it back."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pyrep.testing import KeptSystem

__all__ = ["KeptCopy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCopy:
    """A copy of the directory of a system that nobody had open.

    Attributes:
        unclean: whether the system had ended by a power loss.
    """

    directory: Path
    said: KeptSystem
    unclean: bool

    @classmethod
    def of(cls, directory: Path, said: KeptSystem, *, unclean: bool) -> KeptCopy:
        """Copy a system's directory, in the place of an earlier copy."""
        kept = directory.with_name(f"{directory.name}.kept")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(directory, kept)
        return cls(directory=kept, said=said, unclean=unclean)

    def put_into(self, directory: Path) -> None:
        """Make a system's directory what it was: in the same files, by which tables know them."""
        for path in directory.rglob("*"):
            if path.is_file() and not (self.directory / path.relative_to(directory)).exists():
                path.unlink()
        for path in self.directory.rglob("*"):
            if path.is_file():
                shutil.copyfile(path, directory / path.relative_to(self.directory))
