"""A copy of a system's directory, and what the reference said of it: for putting it back."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from pyrep.model import PairStatus, Row
from pyrep.testing import KeptSystem

__all__ = ["KeptCopy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCopy:
    """A copy of the directory of a system.

    Attributes:
        unclean: whether the system hadn't been closed.
        young: its rows of remote pairs whose identifiers haven't grown older since.
    """

    directory: Path
    said: KeptSystem
    unclean: bool
    young: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        directory: Path,
        said: KeptSystem,
        *,
        unclean: bool,
        young: dict[str, Row],
    ) -> KeptCopy:
        """Copy a system's directory, in the place of an earlier copy."""
        kept = directory.with_name(f"{directory.name}.kept")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(directory, kept, copy_function=_copy_file)
        return cls(directory=kept, said=said, unclean=unclean, young=dict(young))

    def is_told(self, other: Row) -> bool:
        """Whether this copy, put back, is told from what its pair's other side holds by now.

        One that was SPLIT is right by its bits as long as no copy has begun since. Else what both
        sides had a name for has grown older, or has another name.
        """
        was = self.young.get(other.pair_id)
        if was is None:
            return True
        names = {was.lineage.point, was.lineage.current}
        parted = was.status is PairStatus.SPLIT and was.lineage.point == other.lineage.point
        return parted or not names & {other.lineage.point, other.lineage.current}

    def put_into(self, directory: Path) -> None:
        """Make a system's directory what it was: in the same files, by which tables know them."""
        for path in directory.rglob("*"):
            if path.is_file() and not (self.directory / path.relative_to(directory)).exists():
                path.unlink()
        for path in self.directory.rglob("*"):
            if path.is_file():
                _copy_file(path, directory / path.relative_to(self.directory))


def _copy_file(source: str | Path, target: str | Path) -> None:
    """Copy a file's bytes; its holes stay holes."""
    with Path(source).open("rb") as read, Path(target).open("wb") as written:
        size, at = os.fstat(read.fileno()).st_size, 0
        written.truncate(size)
        while at < size:
            try:
                data = os.lseek(read.fileno(), at, os.SEEK_DATA)
            except OSError:  # no more
                break
            at = os.lseek(read.fileno(), data, os.SEEK_HOLE)
            os.pwrite(written.fileno(), os.pread(read.fileno(), at - data, data), data)
