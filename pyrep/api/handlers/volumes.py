"""Requests about volumes and their content."""

from __future__ import annotations

from typing import Any

from pyrep.api.requests import CreateVolume, History, Nothing, Range, WriteAt
from pyrep.api.routes import Answers, Site, route
from pyrep.api.shapes import name_from, version_json, volume_json
from pyrep.errors import InvalidArgumentError
from pyrep.model import MIB, format_bytes
from pyrep.workflows import history

__all__ = [
    "create_volume",
    "delete_volume",
    "flush_volume",
    "get_history",
    "get_volume",
    "list_volumes",
    "read_volume",
    "write_volume",
]

Json = dict[str, Any]

_READ_MAX = 64 * MIB


@route("GET", "/volumes")
def list_volumes(site: Site, _: Nothing) -> list[Json]:
    """Return all volumes."""
    return [volume_json(one) for one in site.system.volumes()]


@route("POST", "/volumes", CreateVolume)
def create_volume(site: Site, asked: CreateVolume) -> Json:
    """Make a volume: of `size_bytes` on a new sparse file, or of what is at `path`."""
    if (asked.size_bytes is None) == (asked.path is None):
        raise InvalidArgumentError(
            f"cannot make volume {asked.volume_id}: name its size or its path, one of the two",
            hint="a size makes a new volume, a path takes what is there",
        )
    if asked.size_bytes is not None:
        return volume_json(site.system.create_volume(asked.volume_id, asked.size_bytes))
    return volume_json(site.system.attach_volume(asked.volume_id, asked.path or ""))


@route("GET", "/volumes/{volume}")
def get_volume(site: Site, volume: str, _: Nothing) -> Json:
    """Return a volume with its rows of the copy management table."""
    return volume_json(site.system.volume(volume))


@route("DELETE", "/volumes/{volume}", answers=Answers.NOTHING)
def delete_volume(site: Site, volume: str, _: Nothing) -> None:
    """Forget a volume that is in no pair."""
    site.system.delete_volume(volume)


@route("GET", "/volumes/{volume}/data", Range, answers=Answers.OCTETS)
def read_volume(site: Site, volume: str, asked: Range) -> bytearray:
    """Return bytes of a volume."""
    if not 0 <= asked.length <= _READ_MAX:
        raise InvalidArgumentError(
            f"cannot read {asked.length} bytes at once", hint=f"up to {format_bytes(_READ_MAX)}"
        )
    data = bytearray(asked.length)
    site.system.volume(volume).pread_into(data, asked.offset)
    return data


@route("PUT", "/volumes/{volume}/data", WriteAt, answers=Answers.NOTHING)
def write_volume(site: Site, volume: str, asked: WriteAt, octets: bytearray) -> None:
    """Write the octets to a volume as its host; it answers when synchronous mirrors have them."""
    site.system.volume(volume).pwrite(octets, asked.offset)


@route("POST", "/volumes/{volume}/flush", answers=Answers.NOTHING)
def flush_volume(site: Site, volume: str, _: Nothing) -> None:
    """Make everything written to a volume before durable."""
    site.system.volume(volume).flush()


@route("GET", "/volumes/{volume}/history", History)
def get_history(site: Site, volume: str, asked: History) -> list[Json]:
    """Return one path as each complete generation of a volume has it, oldest first."""
    path = name_from(asked.path, asked.path_b64)
    found = history(site.system, volume, path, partition=asked.partition)
    return [version_json(one) for one in found]
