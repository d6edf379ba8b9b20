"""`pyrep volume`: volumes and their content."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from pyrep.cli.quantities import size
from pyrep.cli.session import Session, command
from pyrep.cli.tables import Column, print_facts, print_table
from pyrep.errors import OutOfRangeError
from pyrep.model import MIB, format_bytes

__all__ = ["volume"]

_COLUMNS: tuple[Column, ...] = (
    ("volume", "volume_id"),
    ("size", "size_bytes"),
    ("role", "role"),
    ("path", "path"),
)
_VOLUME = click.argument("volume_id", metavar="VOLUME")
_PIECE_BYTES = MIB


@click.group()
def volume() -> None:
    """Make, attach and delete volumes; read and write their content as a host."""


@command(volume, "create", example="volume create 105a --size 10G")
@_VOLUME
@click.option("--size", "size_bytes", type=size, required=True, help="As 10G; K, M, G, T.")
def create(session: Session, *, volume_id: str, size_bytes: int) -> None:
    """Make a volume of zeros on a sparse file in the system's directory."""
    told = session.client.create_volume(volume_id, size_bytes)
    session.say(told, f"volume {volume_id}: {format_bytes(size_bytes)}")


@command(volume, "attach", example="volume attach 105a /dev/disk/by-id/scsi-1234")
@_VOLUME
@click.argument("path", type=click.Path(path_type=Path))
def attach(session: Session, *, volume_id: str, path: Path) -> None:
    """Make a volume of a file or a block device of the daemon's machine, with its content."""
    told = session.client.attach_volume(volume_id, path)
    size = format_bytes(told.get("size_bytes", 0))
    session.say(told, f"volume {volume_id}: {size} of {path.absolute()}")


@command(volume, "list", example="volume list")
def list_volumes(session: Session) -> None:
    """List the volumes."""
    found = session.client.volumes()
    session.show(found, lambda console: print_table(console, _COLUMNS, found, nothing="no volumes"))


@command(volume, "show", example="volume show 105a")
@_VOLUME
def show(session: Session, *, volume_id: str) -> None:
    """Show a volume with its rows of the copy management table."""
    told = session.client.volume(volume_id)
    session.show(told, lambda console: print_facts(console, told))


@command(volume, "delete", example="volume delete 105a")
@_VOLUME
def delete(session: Session, *, volume_id: str) -> None:
    """Forget a volume that is in no pair; the file of an attached one is kept."""
    session.client.delete_volume(volume_id)
    session.say({"volume_id": volume_id}, f"volume {volume_id} is gone")


@command(volume, "import", example="volume import 105a disk.img")
@_VOLUME
@click.argument("image", type=click.File("rb"))
@click.option("--offset", type=size, default=0, show_default=True, help="Where it goes.")
def import_image(session: Session, *, volume_id: str, image: BinaryIO, offset: int) -> None:
    """Write an image file (or `-`) to a volume, tracked as a host's writes; then make it durable.

    Pieces of zeros are compared first: what is zero already isn't written.
    """
    client = session.client
    room = int(client.volume(volume_id)["size_bytes"]) - offset
    done = 0
    for piece in _pieces(image):
        if done + len(piece) > room:
            raise OutOfRangeError(
                f"cannot import {getattr(image, 'name', 'the image')}: it is longer than the "
                f"{format_bytes(max(0, room))} of volume {volume_id} from byte {offset} on",
                hint=f"{format_bytes(done)} were written; make a larger volume",
            )
        is_there = not any(piece) and client.read(volume_id, len(piece), offset + done) == piece
        if not is_there:
            client.write(volume_id, piece, offset + done)
        done += len(piece)
    client.flush(volume_id)
    told = {"volume_id": volume_id, "offset": offset, "length": done}
    session.say(told, f"volume {volume_id}: {format_bytes(done)} imported")


def _pieces(image: BinaryIO) -> Iterator[bytes]:
    while piece := image.read(_PIECE_BYTES):
        yield piece


@command(volume, "export", example="volume export 106b friday.img")
@_VOLUME
@click.argument("image", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--offset", type=size, default=0, show_default=True, help="From here on.")
@click.option("--length", type=size, help="So many bytes.  [default: to the end]")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def export_image(
    session: Session,
    *,
    volume_id: str,
    image: Path,
    offset: int,
    length: int | None,
    force: bool,
) -> None:
    """Read a volume into a sparse image file, or to standard output (`-`).

    It may be written meanwhile, and then isn't of one moment; an SVOL that is SPLIT is.
    """
    client = session.client
    size_bytes = int(client.volume(volume_id)["size_bytes"])
    end = size_bytes if length is None else offset + length
    to_stdout = str(image) == "-"
    with _target(image, force=force, to_stdout=to_stdout) as target:
        for at in range(offset, end, _PIECE_BYTES):
            piece = client.read(volume_id, min(_PIECE_BYTES, end - at), at)
            if to_stdout or any(piece):
                target.write(piece)
            else:
                target.seek(len(piece), os.SEEK_CUR)
        if not to_stdout:
            target.truncate(max(0, end - offset))
    told = {"volume_id": volume_id, "offset": offset, "length": max(0, end - offset)}
    if not to_stdout:
        session.say(told, f"{image}: {format_bytes(max(0, end - offset))} of volume {volume_id}")


def _target(image: Path, *, force: bool, to_stdout: bool) -> BinaryIO:
    if to_stdout:
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    return image.open("wb" if force else "xb")
