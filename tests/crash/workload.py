"""What is recorded: two systems that mirror, back up, restore, in a process run by `record`.

A workload asks each system by name (`acts`), so that either may be a process of its own (`far`).
What hosts may rely on it says by marks (`promised`).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from crash import acts
from crash.blocks import OPTIONS, SIZE, SPREAD
from crash.promised import Promised
from pyrep import StorageSystem, connect
from pyrep.model import AckPoint

SIDES = ("100a", "100b")
VOLUMES = {"100a": ("105a",), "100b": ("105b", "106b", "107b")}


class Side(Protocol):
    """A system, wherever it runs."""

    def open(self) -> None:
        """Open it."""
        ...

    def close(self) -> None:
        """Close it."""
        ...

    def abort(self) -> None:
        """End it as a crash would."""
        ...

    def do(self, act: Callable[..., Any], *args: object) -> Any:
        """Do one of `acts`."""
        ...


class Here:
    """A system of this process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.system: StorageSystem | None = None

    def open(self) -> None:
        self.system = StorageSystem.open(self.directory, options=OPTIONS)

    def close(self) -> None:
        if self.system is not None:
            self.system.close()

    def abort(self) -> None:
        if self.system is not None:
            self.system.abort()

    def do(self, act: Callable[..., Any], *args: object) -> Any:
        return act(self.system, *args)


class Workload:
    """Two systems, and a host that says what it does.

    Args:
        sides: the systems.
        join: makes the path between them, which are open.
        mark: writes a mark.
        layouts: where each volume's blocks are, of those that exist.
        number: of the last write so far.
    """

    def __init__(
        self,
        sides: Mapping[str, Side],
        join: Callable[[], None],
        mark: Callable[[str], None],
        layouts: Mapping[str, Sequence[int]] | None = None,
        number: int = 0,
    ) -> None:
        self.a, self.b = sides["100a"], sides["100b"]
        self._join = join
        self._mark = mark
        self._layouts = dict(layouts or {})
        self._number = number
        self._counting = threading.Lock()
        self.turn = threading.Lock()
        """Held by a host in a thread of its own while it writes: what is said of a backup stands
        between two of its writes, not amid one that nobody has answered."""

    def mark(self, text: str) -> None:
        with self._counting:
            self._mark(text)

    def lay_out(self, volume: str, offsets: Sequence[int] = SPREAD) -> None:
        """Say where a new volume's blocks are."""
        self._layouts[volume] = offsets
        self.mark(f"layout {volume} {','.join(map(str, offsets))}")

    def open(self) -> None:
        self.a.open()
        self.b.open()
        self._join()
        self.rest()

    def rest(self) -> None:
        """Wait until nothing is left to do."""
        for _ in range(2):  # what one does the other may answer
            for side in (self.a, self.b):
                side.do(acts.be_quiet)

    def close(self) -> None:
        self.a.close()
        self.b.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    def crash(self) -> None:
        """End both as a crash would, and open them: they recover."""
        for side in (self.a, self.b):
            side.abort()
        self.mark("crashed")
        self.open()

    # --- hosts -----------------------------------------------------------------------------------

    @property
    def numbers(self) -> int:
        """How many writes there were."""
        return self._number

    def offset(self, volume: str, block: int) -> int:
        """Where a block is."""
        return self._layouts[volume][block]

    def _next(self, word: str, volume: str, block: int) -> tuple[int, int]:
        with self._counting:
            self._number += 1
            self._mark(f"{word} {self._number} {volume} {block}")
            return self._number, self.offset(volume, block)

    def write(self, *blocks: int, volume: str = "105a") -> None:
        for block in blocks:
            self.a.do(acts.write, volume, *self._next("write", volume, block))

    def write_there(self, *blocks: int) -> None:
        """Let a host write to 105b."""
        for block in blocks:
            self.b.do(acts.write, "105b", *self._next("there", "105a", block))

    def flush(self, volume: str = "105a") -> None:
        self.a.do(acts.flush, volume)
        self.mark(f"flushed {volume}")

    # --- workflows -------------------------------------------------------------------------------

    def backup(self, label: str, *volumes: str, reuse_last: bool = False) -> str:
        with self.turn:
            self.mark(f"backup {label}")
        made = self.a.do(acts.back_up, list(volumes or ("105a",)), label, reuse_last)
        self.mark(f"backed-up {label}")
        return str(made)

    def restored(
        self, label: str, blocks: Sequence[int], side: Side, act: Callable[..., Any], *args: str
    ) -> Any:
        """Have blocks of 105a restored, and say so before and after."""
        named = f"{label} 105a {','.join(map(str, blocks))}"
        self.mark(f"restore {named}")
        answer = side.do(act, *args)
        self.mark(f"restored {named}")
        return answer


def make_systems(base: Path, volumes: Mapping[str, Sequence[str]]) -> None:
    """Make the systems in a directory, and close them."""
    for name in SIDES:
        with StorageSystem.create(base / name, name, options=OPTIONS) as system:
            for volume in volumes[name]:
                system.create_volume(volume, SIZE)


def mirror(work: Workload) -> None:
    """Mirror 105a to 105b, and that to 106b and 107b."""
    work.a.do(acts.create_remote, "105a", "105b", None, AckPoint.RECEIVED)
    for svol in ("106b", "107b"):
        work.b.do(acts.create_local, "105b", svol)
    work.flush()
    work.rest()
    work.mark("mirrored 105a")


def together(base: Path, mark: Callable[[str], None], marks: Sequence[str] = ()) -> Workload:
    """Return a workload with both systems in this process; `marks` is what they begin with."""
    sides = {name: Here(base / name) for name in SIDES}

    def join() -> None:
        a, b = (sides[name].system for name in SIDES)
        assert a is not None
        assert b is not None
        connect(a, b)

    promised = Promised.by(marks)
    return Workload(sides, join, mark, promised.layouts, promised.last_number)


def main() -> None:
    """Do the workload of a name in a directory: what `record` runs.

    With a file of marks behind them, what those are about is there already.
    """
    from crash.workloads import WORKLOADS  # noqa: PLC0415 (it imports this one)

    base = Path(sys.argv[1])
    script = WORKLOADS[sys.argv[2]]
    with (base / "marks").open("ab", buffering=0) as marks:

        def mark(text: str) -> None:
            marks.write(f"{text}\n".encode())

        made = Path(sys.argv[3]).read_text("utf-8").splitlines() if len(sys.argv) > 3 else []
        for one in made:
            mark(one)
        work = together(base, mark, made)
        if not made:
            script.build(base, work)
        work.mark("ready")
        if made:
            work.open()
        script.run(work)
        work.mark("end")
        work.close()
