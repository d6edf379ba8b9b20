"""What a process did to the files below a directory, and what a power loss would leave of it.

Fault model (contract): `Recording.after_power_loss` gives the files as they may be found when the
power goes right before one of the recorded effects.

 - A write, a punched hole and a change of size are durable when an fsync or fdatasync of the file
   that began after them has ended. Of the others each is kept or lost by itself; they reach the
   file in their order. `tear`: the last one kept reaches it only up to a multiple of 512 bytes.
 - A name (created, renamed, unlinked) is durable when an fsync of its directory has ended. Of the
   others of one directory the first few are kept, in their order: file systems keep names in a
   log. That a file was synced says nothing about its name. Directories themselves are never lost.
 - `keep_one_in` as in `PowerLoss`: 0 loses all that isn't durable, 1 keeps all (what `kill -9`
   leaves), n keeps one in n.
 - What is written through a mapping isn't seen. pyrep writes none; SQLite's `-shm`, which it makes
   anew, is left out, so are locks and sockets.

It is strace that watches: nothing in the process knows of it.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pyrep.testing.filebytes import FileBytes

__all__ = [
    "Effect",
    "Recording",
    "can_record",
    "read_log",
    "read_trace",
    "record",
    "strace_command",
]

_CALLS = (
    "openat,creat,write,pwrite64,pwritev,writev,ftruncate,fallocate,fsync,fdatasync,rename,"
    "renameat,renameat2,unlink,unlinkat,copy_file_range"
)
_SECTOR_BYTES = 512
_LINE = re.compile(r"(\d+)\s+(?:<\.\.\. \w+ resumed>)?(.*)")
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
# All in hex: neither can have its own end within. A pattern for the digits costs 20 times as much.
_OF = re.compile(r"\d+<([^>]*)>")
_TEXT = re.compile(r'"([^"]*)"')
_NUMBER = re.compile(r"(?<=, )\d+(?=,|$)")
_NOT_KEPT = re.compile(r"(-shm|/lock|\.sock)$")
_MARKS = "marks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One thing that the process did.

    Attributes:
        kind: write, zero, size, sync, create, rename, unlink or mark.
        path: relative to the directory.
        offset, data, length: of a write, a hole, a size; a mark's text is its data.
        target: what a file was renamed to.
        begun: of a sync, the number of effects when it began: what it makes durable.
    """

    kind: str
    path: str
    offset: int = 0
    data: bytes = b""
    length: int = 0
    target: str = ""
    begun: int = 0


def can_record() -> bool:
    """Whether strace is here and may trace."""
    if shutil.which("strace") is None:
        return False
    done = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return done.returncode == 0


def strace_command(log: Path) -> list[str]:
    """Return what stands before a command, so that `read_trace` can tell what it did."""
    watch = ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "1200000"]
    return [*watch, "-e", f"trace={_CALLS}", "-o", str(log)]


def record(command: Sequence[str], directory: Path, log: Path) -> Recording:
    """Run a command that works below a directory; return what it did there.

    Appending a line to the file `marks` in the directory puts a mark into the recording.

    Args:
        command: what is run.
        directory: what it works in.
        log: where strace writes.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    subprocess.run([*strace_command(log), *command], check=True, capture_output=True)
    with log.open("r+", encoding="ascii") as file:  # what it was about, for `read_log`
        lines = file.read()
        file.seek(0)
        file.write(f"{directory.resolve()}\n{lines}")
    return read_log(log)


def read_log(log: Path) -> Recording:
    """Return what `record` has left in its log."""
    with log.open(encoding="ascii") as lines:
        directory = lines.readline().rstrip("\n")
        effects = tuple(_parse(lines, directory, ()))
    return Recording(effects=effects, directory=directory)


def read_trace(log: Path, directory: Path, found: Mapping[str, FileBytes]) -> Recording:
    """Return what a process did below a directory, from what strace wrote by `strace_command`.

    Args:
        log: what strace wrote, whole: of a process that ended, killed or not.
        directory: what it worked in.
        found: the files that were there when it began, by their paths relative to it.
    """
    with log.open(encoding="ascii") as lines:
        effects = tuple(_parse(lines, str(directory.resolve()), found))
    return Recording(effects=effects, found=found, directory=str(directory.resolve()))


def _parse(lines: Iterable[str], directory: str, known: Collection[str]) -> list[Effect]:
    """Read strace's lines: what a call does to content stands where it began, a sync at its end."""
    parser = _Parser(f"{directory}/", known)
    for line in lines:
        parser.line(line.rstrip("\n"))
    place: list[int] = []
    out: list[Effect] = []
    for one in parser.effects:
        place.append(len(out))
        if one is not None:
            out.append(replace(one, begun=place[one.begun]) if one.kind == "sync" else one)
    return out


class _Parser:
    def __init__(self, root: str, known: Collection[str]) -> None:
        self._root = root
        self._open: dict[str, tuple[str, int]] = {}  # thread → what it has begun, and where
        self._known = set(known)
        self._at: dict[str, int] = {}
        self.effects: list[Effect | None] = []

    def line(self, line: str) -> None:
        matched = _LINE.match(line)
        if matched is None:
            return
        thread, text = matched.groups()
        if text.endswith("<unfinished ...>"):
            self.effects.append(None)
            begun = text.removesuffix("<unfinished ...>").rstrip()
            self._open[thread] = begun, len(self.effects) - 1
            return
        at = None
        if "resumed>" in line and thread in self._open:
            begun, at = self._open.pop(thread)
            text = begun + text
        if at is None:
            self.effects.append(None)
            at = len(self.effects) - 1
        call = _CALL.match(text)
        if call and int(call[3]) >= 0:
            self._take(call[1], call[2], int(call[3]), at)

    def _name(self, coded: str) -> str | None:
        path = bytes.fromhex(coded.replace("\\x", "")).decode()
        return path.removeprefix(self._root) if path.startswith(self._root) else None

    def _take(self, call: str, args: str, answer: int, at: int) -> None:
        if call in {"openat", "creat"}:
            self._opened(args, at)
        elif call.startswith(("rename", "unlink")):
            self._named(call, args, at)
        else:
            of = _OF.match(args)
            path = self._name(of[1]) if of else None
            if path is not None:
                self._changed(call, path, args[of.end() :] if of else "", answer, at)

    def _opened(self, args: str, at: int) -> None:
        text = _TEXT.search(args)
        path = self._name(text[1]) if text else None
        if path is None or "O_CREAT" not in args:
            return
        self._at[path] = 0
        if path not in self._known:
            self._known.add(path)
            self.effects[at] = Effect(kind="create", path=path)
        elif "O_TRUNC" in args:
            self.effects[at] = Effect(kind="size", path=path)

    def _named(self, call: str, args: str, at: int) -> None:
        names = [self._name(one) for one in _TEXT.findall(args)]
        path = names[0] if names else None
        if path is None or path not in self._known:
            return
        self._known.discard(path)
        if call.startswith("unlink"):
            self.effects[at] = Effect(kind="unlink", path=path)
        elif names[1] is not None:
            self._known.add(names[1])
            self.effects[at] = Effect(kind="rename", path=path, target=names[1])

    def _changed(self, call: str, path: str, rest: str, answer: int, at: int) -> None:
        text = _TEXT.search(rest)
        behind = text.end() if text else 0  # the data is long
        numbers = [int(one) for one in _NUMBER.findall(rest, behind)]
        if call in {"fsync", "fdatasync"}:
            self.effects.append(Effect(kind="sync", path=path, begun=at))
        elif call in {"write", "pwrite64"}:
            data = bytes.fromhex(text[1].replace("\\x", ""))[:answer] if text else b""
            if path == _MARKS:
                self.effects[at] = Effect(kind="mark", path=path, data=data)
                return
            offset = numbers[-1] if call == "pwrite64" else self._at.get(path, 0)
            self._at[path] = offset + len(data)
            self.effects[at] = Effect(kind="write", path=path, offset=offset, data=data)
        elif call == "ftruncate":
            self.effects[at] = Effect(kind="size", path=path, length=numbers[-1])
        elif call == "fallocate":
            kind = "zero" if "PUNCH_HOLE" in rest or "ZERO_RANGE" in rest else "grow"
            offset, length = numbers[-2:]
            self.effects[at] = Effect(kind=kind, path=path, offset=offset, length=length)
        else:
            raise NotImplementedError(f"a recording doesn't know what {call} does to {path}")


@dataclass(slots=True)
class _File:
    """A file's durable bytes, and what was done since."""

    durable: FileBytes = field(default_factory=FileBytes)
    loose: list[tuple[int, Effect]] = field(default_factory=list)

    def sync(self, before: int) -> None:
        rest = []
        for number, one in self.loose:
            if number < before:
                _apply(self.durable, one)
            else:
                rest.append((number, one))
        self.loose = rest

    def lose(self, keeps: Callable[[], bool], tear: Callable[[int], int] | None) -> FileBytes:
        kept = [one for _, one in self.loose if keeps()]
        out = self.durable.copy()
        for index, one in enumerate(kept):
            torn = tear is not None and index == len(kept) - 1 and one.kind == "write"
            if torn and tear is not None:
                sectors = (len(one.data) - 1) // _SECTOR_BYTES + 1
                data = one.data[: tear(sectors) * _SECTOR_BYTES]
                _apply(out, replace(one, data=data))
            else:
                _apply(out, one)
        return out


def _apply(data: FileBytes, effect: Effect) -> None:
    match effect.kind:
        case "write":
            data.write(effect.data, effect.offset)
        case "zero":
            data.zero(effect.offset, effect.length)
        case "grow":
            data.resize(max(data.size_bytes, effect.offset + effect.length))
        case _:
            data.resize(effect.length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a process did, in order.

    Attributes:
        effects: what it did.
        found: the files that were there, durably, when it began.
        directory: the one that it worked in; files may name each other by it.
    """

    effects: tuple[Effect, ...]
    found: Mapping[str, FileBytes] = field(default_factory=dict)
    directory: str = ""

    def marks(self, before: int | None = None) -> list[str]:
        """Return the marks among the first effects."""
        return [one.data.decode().strip() for one in self.effects[:before] if one.kind == "mark"]

    def position(self, mark: str) -> int:
        """Return where a mark stands."""
        return next(
            index
            for index, one in enumerate(self.effects)
            if one.kind == "mark" and one.data.decode().strip() == mark
        )

    def without_syncs(self, path: str) -> Recording:
        """Return what it would be, had nothing made durable the files that a pattern matches."""
        pattern = re.compile(path)
        kept = [
            replace(one, kind="lost sync")
            if one.kind == "sync" and pattern.search(one.path)
            else one
            for one in self.effects
        ]
        return replace(self, effects=tuple(kept))

    def cuts(self, first: int) -> list[int]:
        """Return the places from one on before which something durable happens."""
        return [
            index
            for index, one in enumerate(self.effects)
            if index >= first and one.kind not in {"mark", "lost sync"}
        ]

    def after_power_loss(
        self, cut: int, seed: int, keep_one_in: Callable[[str], int], *, tear: bool = True
    ) -> dict[str, FileBytes]:
        """Return the files that are found when the power goes before one effect.

        Args:
            cut: its index in `effects`.
            seed: which of the unflushed are kept.
            keep_one_in: per path, how many of them.
            tear: see the fault model.
        """
        names, loose_names = self._replay(cut)
        draw = random.Random(seed)  # noqa: S311 (no secret)
        for effects in loose_names.values():
            share = keep_one_in(effects[0][1].path)
            count = len(effects) if share == 1 else draw.randint(0, len(effects) if share else 0)
            for _, one in effects[:count]:
                _rename(names[1], one, names[0])
        out = {}
        for path, file in names[1].items():
            if _NOT_KEPT.search(path):
                continue
            share = keep_one_in(path)

            def keeps(share: int = share) -> bool:
                return share == 1 or (share > 0 and draw.randrange(share) == 0)

            out[path] = file.lose(keeps, draw.randrange if tear and share != 1 else None)
        return out

    def _replay(
        self, cut: int
    ) -> tuple[tuple[dict[int, _File], dict[str, _File]], dict[str, list[tuple[int, Effect]]]]:
        """Return the files by creation and by durable name, and the names that aren't durable."""
        made: dict[int, _File] = {}
        live = {path: _File(durable=one.copy()) for path, one in self.found.items()}
        durable = dict(live)
        loose: dict[str, list[tuple[int, Effect]]] = {}
        for number, one in enumerate(self.effects[:cut]):
            if one.kind in {"create", "rename", "unlink"}:
                noted = one
                if one.kind == "create":
                    made[number] = _File()
                    noted = replace(one, begun=number)
                _rename(live, noted, made)
                loose.setdefault(_parent(one.path), []).append((number, noted))
            elif one.kind == "sync" and one.path in live:
                live[one.path].sync(one.begun)
            elif one.kind == "sync":
                mine = loose.get(one.path, [])
                for _, each in (pair for pair in mine if pair[0] < one.begun):
                    _rename(durable, each, made)
                loose[one.path] = [pair for pair in mine if pair[0] >= one.begun]
            elif one.kind in {"write", "zero", "grow", "size"} and one.path in live:
                live[one.path].loose.append((number, one))
        return (made, durable), {key: each for key, each in loose.items() if each}


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _rename(names: dict[str, _File], effect: Effect, made: dict[int, _File]) -> None:
    match effect.kind:
        case "create":
            names[effect.path] = made[effect.begun]
        case "unlink":
            names.pop(effect.path, None)
        case _:
            if effect.path in names:
                names[effect.target] = names.pop(effect.path)
