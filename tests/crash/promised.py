"""What a workload's marks before a power loss promise of the volumes and generations after it.

A host of the primary's volume V says `write N V BLOCK` before and `flushed V` after; one of its
mirror `there N V BLOCK`, until that was `taken-back V` or `discarded V`. `backup LABEL` stands
before one, `backed-up LABEL` after it; `restore LABEL V BLOCKS` and `restored LABEL V BLOCKS`
likewise; `unrestored V` where it was abandoned instead. `parted V`: its mirror isn't kept equal
from here on. `keeps-newest`: older backups may be given up; `renaming OLD NEW`, `renamed OLD NEW`:
of a label. `damaged` stands before a change behind pyrep's back, `repaired` behind its repair.
`layout V OFFSETS` begins a volume of zeros, `deleting V` ends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

State = dict[str, tuple[int, ...]]
"""The write that each block holds, by volume."""


class LossError(AssertionError):
    """Something that was promised isn't so after the power loss."""


@dataclass(slots=True)
class Restoring:
    """A restore that was asked for and hadn't returned.

    Attributes:
        before: per block, what it might hold before.
        after: what it holds when the restore is done.
    """

    volume: str
    before: dict[int, set[int]]
    after: dict[int, int]


@dataclass(slots=True)
class Promised:
    """What holds behind some marks.

    Attributes:
        layouts: where the blocks of each of the primary's volumes are.
        allowed: per volume and block, the writes one of which it holds.
        states: every state there was, in order, of the primary's volumes or their mirrors.
        known: the states that a labelled backup may have, from when it was asked for on.
        complete: labels of those that must be there.
        restoring: see there.
        last_number: of the last write.
        keeps_newest: one complete generation stays, whichever.
        is_damaged: somebody changed a mirror behind pyrep's back, and it isn't repaired yet.
    """

    layouts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    allowed: dict[str, list[set[int]]] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    known: dict[str, list[State]] = field(default_factory=dict)
    complete: set[str] = field(default_factory=set)
    restoring: Restoring | None = None
    last_number: int = 0
    is_damaged: bool = False
    keeps_newest: bool = False
    _now: dict[str, list[int]] = field(default_factory=dict)
    _there: dict[str, dict[int, int]] = field(default_factory=dict)
    _parted: State = field(default_factory=dict)
    _taking: str | None = None

    @classmethod
    def by(cls, marks: Iterable[str]) -> Promised:
        """Return what these marks promise."""
        made = cls()
        for mark in marks:
            made.take(mark)
        return made

    def take(self, mark: str) -> None:
        """Go on by one mark."""
        word, *rest = mark.split()
        if self._is_of_catalogue(word, rest):
            return
        match word:
            case "layout":
                offsets = tuple(map(int, rest[1].split(",")))
                self.layouts[rest[0]] = offsets
                self.allowed[rest[0]] = [{0} for _ in offsets]
                self._now[rest[0]] = [0] * len(offsets)
            case "deleting":
                for kept in (self.layouts, self.allowed, self._now, self._there):
                    kept.pop(rest[0], None)
            case "write":
                self._write(int(rest[0]), rest[1], int(rest[2]))
            case "there":
                self._there.setdefault(rest[1], {})[int(rest[2])] = int(rest[0])
                self.allowed[rest[1]][int(rest[2])].add(int(rest[0]))
            case "flushed":
                self._flushed(rest[0])
            case "taken-back":
                for block, number in self._there.pop(rest[0]).items():
                    self._now[rest[0]][block] = number
                    self.allowed[rest[0]][block] = {number}
                self._parted.pop(rest[0])
            case "discarded":
                self._there.pop(rest[0])
                self._parted.pop(rest[0])
            case "backup":
                self._taking = rest[0]
                self.known[rest[0]] = []
            case "backed-up":
                if self.keeps_newest:
                    self.complete.clear()
                self.complete.add(rest[0])
                self._taking = None
                return
            case "unrestored":
                self._unrestored(rest[0])
            case "restore" | "restored":
                self._restored(word, rest[0], rest[1], [int(one) for one in rest[2].split(",")])
            case _:
                return
        self._note_state()

    def _is_of_catalogue(self, word: str, rest: list[str]) -> bool:
        """Take what changes no volume; False: it is something else."""
        match word:
            case "keeps-newest":
                self.keeps_newest = True
            case "renaming":
                self.known[rest[1]] = self.known[rest[0]]
                self.complete.discard(rest[0])
            case "renamed":
                self.complete.add(rest[1])
            case "damaged" | "repaired":
                self.is_damaged = word == "damaged"
            case "parted":
                self._parted[rest[0]] = tuple(self._now[rest[0]])
            case _:
                return False
        return True

    def _write(self, number: int, volume: str, block: int) -> None:
        self.last_number = max(self.last_number, number)
        self._now[volume][block] = number
        self.allowed[volume][block].add(number)

    def _flushed(self, volume: str) -> None:
        there = self._there.get(volume, {})
        self.allowed[volume] = [
            {number} | ({there[block]} if block in there else set())
            for block, number in enumerate(self._now[volume])
        ]

    def _restored(self, word: str, label: str, volume: str, blocks: list[int]) -> None:
        after = {block: self.known[label][0][volume][block] for block in blocks}
        allowed = self.allowed[volume]
        if word == "restore":
            before = {block: set(allowed[block]) for block in blocks}
            self.restoring = Restoring(volume=volume, before=before, after=after)
            for block, number in after.items():
                allowed[block].add(number)
            return
        self.restoring = None
        for block, number in after.items():
            self._now[volume][block] = number
            allowed[block] = {number}

    def _unrestored(self, volume: str) -> None:
        assert self.restoring is not None
        for block, numbers in self.restoring.before.items():
            self.allowed[volume][block] = set(numbers)
        self.restoring = None

    def _note_state(self) -> None:
        here = {volume: tuple(numbers) for volume, numbers in self._now.items()}
        self.states.append(here)
        if self._taking is not None:
            self.known[self._taking].append(here)
        if self.restoring is not None:  # as the mirror may be before the volume is
            numbers = list(here[self.restoring.volume])
            for block, number in self.restoring.after.items():
                numbers[block] = number
            self.states.append({**here, self.restoring.volume: tuple(numbers)})
        if self._there:
            there = {volume: list(numbers) for volume, numbers in (here | self._parted).items()}
            for volume, written in self._there.items():
                for block, number in written.items():
                    there[volume][block] = number
            self.states.append({volume: tuple(each) for volume, each in there.items()})
