"""The two systems of the demonstration, as in Fig. 1, with two volumes in one consistency group.

100a                              100b
105a ══ remote mirror 130 ══► 105b ══ local mirrors ══► 106b, 107b     files (ext4)
205a ══ remote mirror     ══► 205b ══ local mirrors ══► 206b, 207b     numbered records

Each is a process of its own; all is asked and written through its API, as operators and hosts do.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pyrep._core import Buffer, FileIo, Io, OverlayIo
from pyrep.api import Client, Json, open_volume
from pyrep.cli.demo.images import read_data
from pyrep.cli.demo.processes import Process, run_processes
from pyrep.cli.demo.tools import Tools
from pyrep.fs import Access, ExtFileSystem

__all__ = ["FILES", "RECORDS", "HostVolume", "Sites", "open_files", "open_image", "open_sites"]

FILES = "105a"
RECORDS = "205a"
_GROUP = "demo"
_SECONDARY = {FILES: "105b", RECORDS: "205b"}
_POOL = {"105b": ("106b", "107b"), "205b": ("206b", "207b")}
_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostVolume:
    """A volume as a host has it: reads and writes, through the system's API."""

    client: Client
    volume_id: str
    size_bytes: int

    def pread(self, length: int, offset: int) -> bytes:
        """Return bytes of it."""
        return self.client.read(self.volume_id, length, offset)

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write to it; it returns when the remote mirror has the bytes."""
        self.client.write(self.volume_id, data, offset)


class Sites:
    """Both systems at work.

    Args:
        first, second: the processes of primary and secondary.
    """

    def __init__(self, first: Process, second: Process) -> None:
        self.processes = (first, second)
        self.a = first.client
        self.b = second.client
        self._pairs: dict[str, Json] = {}

    @property
    def remote(self) -> tuple[str, ...]:
        """The remote pairs by the names of their volumes, as `105a→105b`."""
        return tuple(name for name in self._pairs if name.endswith(tuple(_SECONDARY.values())))

    def mirror(self) -> None:
        """Create the remote pairs, and when these are DUPLEX the local ones."""
        for pvol, svol in _SECONDARY.items():
            made = self.a.finish(self.a.create_pair(pvol, svol, system_id="100b", group=_GROUP))
            self._pairs[f"{pvol}→{svol}"] = made
        for one in self._pairs.values():
            self.a.wait_for_pair(one["pair_id"], timeout_s=_PATIENCE_S)
        local = []
        for pvol, svols in _POOL.items():
            for svol in svols:
                made = self.b.finish(self.b.create_pair(pvol, svol))
                self._pairs[f"{pvol}→{svol}"] = made
                local.append(made["pair_id"])
        for pair_id in local:
            self.b.wait_for_pair(pair_id, timeout_s=_PATIENCE_S)

    def format(self, tools: Tools, template: Path) -> None:
        """Put an empty ext4 file system on 105a, as a host that runs mke2fs there would."""
        volume = self.volume(FILES)
        tools.make_ext4(template, volume.size_bytes)
        for offset, data in read_data(template):
            volume.pwrite(data, offset)
        template.unlink()

    def _client_of(self, volume_id: str) -> Client:
        return self.a if volume_id.endswith("a") else self.b

    def volume(self, volume_id: str) -> HostVolume:
        """Return a volume of either system."""
        client = self._client_of(volume_id)
        size_bytes = int(client.volume(volume_id)["size_bytes"])
        return HostVolume(client=client, volume_id=volume_id, size_bytes=size_bytes)

    def secondary_of(self, volume_id: str) -> str:
        """Return the SPVOL of a volume of 100a."""
        return _SECONDARY[volume_id]

    def chunk_bytes(self, volume_id: str) -> int:
        """Return the chunk size of the remote pair of a volume of 100a."""
        return int(self._pairs[f"{volume_id}→{_SECONDARY[volume_id]}"]["chunk_bytes"])

    @functools.cache  # noqa: B019 (there is one, and it lives as long as the run)
    def image(self, volume_id: str) -> Path:
        """Return a volume's backing file."""
        return Path(self._client_of(volume_id).volume(volume_id)["path"])

    def statuses(self) -> Mapping[str, str]:
        """Return every pair's status by its volumes; of a remote pair, at the primary."""
        rows = {
            row["pair_id"]: row["status"]
            for client in (self.b, self.a)
            for row in client.table()
            if row["primary"] == "YES"
        }
        return {name: rows.get(one["pair_id"], "SIMPLEX") for name, one in self._pairs.items()}

    def crossed_bytes(self) -> int:
        """Return the bytes of all frames so far, both ways, headers included."""
        return sum(
            int(path["frame_bytes"]) for client in (self.a, self.b) for path in client.paths()
        )

    @contextlib.contextmanager
    def files(self, access: Access = Access.READ_ONLY) -> Iterator[ExtFileSystem]:
        """Open the file system on 105a as its host does; what is written takes the tracked path."""
        with open_volume(self.a, FILES) as io, open_files(io, access) as fs:
            yield fs


def open_files(io: Io, access: Access, name: str = FILES) -> ExtFileSystem:
    """Open the file system on a piece of storage."""
    return ExtFileSystem.open(io.address, access=access, name=name)


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Io]:
    """Look at a backing file that a system has in use: read only, below everything."""
    with FileIo(path, locked=False) as file, OverlayIo(file) as view:
        yield view


@contextlib.contextmanager
def open_sites(directory: Path, volume_bytes: int) -> Iterator[Sites]:
    """Serve both systems with their volumes, connected; the processes are ended at the end."""
    with run_processes(directory) as (first, second):
        for volume_id in _SECONDARY:
            first.client.create_volume(volume_id, volume_bytes)
        for volume_id, svols in _POOL.items():
            for one in (volume_id, *svols):
                second.client.create_volume(one, volume_bytes)
        yield Sites(first, second)
