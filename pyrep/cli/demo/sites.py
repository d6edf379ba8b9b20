"""The two systems of the demonstration, as in Fig. 1, with two volumes in one consistency group.

100a                              100b
105a ══ remote mirror 130 ══► 105b ══ local mirrors ══► 106b, 107b     files (ext4)
205a ══ remote mirror     ══► 205b ══ local mirrors ══► 206b, 207b     numbered records
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pyrep import Pair, StorageSystem, Volume, connect
from pyrep._core import Io
from pyrep.cli.demo.images import read_data
from pyrep.cli.demo.tools import Tools
from pyrep.fs import Access, ExtFileSystem
from pyrep.interconnect.loop import LoopPath
from pyrep.model import PairStatus

__all__ = ["FILES", "RECORDS", "Sites", "open_sites"]

FILES = "105a"
RECORDS = "205a"
_GROUP = "demo"
_SECONDARY = {FILES: "105b", RECORDS: "205b"}
_POOL = {"105b": ("106b", "107b"), "205b": ("206b", "207b")}
_PATIENCE_S = 300.0


@dataclass(slots=True)
class Sites:
    """Both systems at work.

    Attributes:
        a, b: primary and secondary.
        path: path 150 between them.
        remote, local: pairs by the names of their volumes, as `105a→105b`.
    """

    a: StorageSystem
    b: StorageSystem
    path: LoopPath
    remote: dict[str, Pair]
    local: dict[str, Pair]

    def mirror(self) -> None:
        """Create the remote pairs, and when these are DUPLEX the local ones."""
        for pvol, svol in _SECONDARY.items():
            pair = self.a.create_remote_pair(pvol, "100b", svol, group=_GROUP)
            self.remote[f"{pvol}→{svol}"] = pair
        for pair in self.remote.values():
            pair.wait(PairStatus.DUPLEX, timeout_s=_PATIENCE_S)
        for pvol, svols in _POOL.items():
            for svol in svols:
                self.local[f"{pvol}→{svol}"] = self.b.create_local_pair(pvol, svol)
        for pair in self.local.values():
            pair.wait(PairStatus.DUPLEX, timeout_s=_PATIENCE_S)

    def format(self, tools: Tools, template: Path) -> None:
        """Put an empty ext4 file system on 105a, as a host that runs mke2fs there would."""
        volume = self.volume(FILES)
        tools.make_ext4(template, volume.size_bytes)
        for offset, data in read_data(template):
            volume.pwrite(data, offset)
        template.unlink()

    def volume(self, volume_id: str) -> Volume:
        """Return a volume of either system."""
        return (self.a if volume_id.endswith("a") else self.b).volume(volume_id)

    def secondary_of(self, volume_id: str) -> str:
        """Return the SPVOL of a volume of 100a."""
        return _SECONDARY[volume_id]

    def remote_of(self, volume_id: str) -> Pair:
        """Return the remote pair of a volume of 100a."""
        return self.remote[f"{volume_id}→{_SECONDARY[volume_id]}"]

    def image(self, volume_id: str) -> Path:
        """Return a volume's backing file."""
        return Path(self.volume(volume_id).path)

    def statuses(self) -> Mapping[str, str]:
        """Return every pair's status by its row; of a remote pair, the primary's."""
        pairs = {**self.remote, **self.local}
        return {name: str(pair.row.status) for name, pair in pairs.items()}

    @contextlib.contextmanager
    def files(self, access: Access = Access.READ_ONLY) -> Iterator[ExtFileSystem]:
        """Open the file system on 105a; what is written takes the tracked path."""
        with self.volume(FILES).io() as io, open_files(io, access) as fs:
            yield fs


def open_files(io: Io, access: Access, name: str = FILES) -> ExtFileSystem:
    """Open the file system on a piece of storage."""
    return ExtFileSystem.open(io.address, access=access, name=name)


@contextlib.contextmanager
def open_sites(directory: Path, volume_bytes: int) -> Iterator[Sites]:
    """Make both systems with their volumes, connected; they are closed at the end."""
    with (
        StorageSystem.create(directory / "100a", "100a") as a,
        StorageSystem.create(directory / "100b", "100b") as b,
    ):
        for volume_id in _SECONDARY:
            a.create_volume(volume_id, volume_bytes)
        for volume_id, svols in _POOL.items():
            for one in (volume_id, *svols):
                b.create_volume(one, volume_bytes)
        yield Sites(a=a, b=b, path=connect(a, b), remote={}, local={})
