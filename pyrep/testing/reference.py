"""The reference model: what two or three systems must hold, without any of their machinery.

A volume is a dict of blocks, a generation a copy of it, a pair four facts for each of its sides. A
write goes to the volume and to whatever is DUPLEX behind it, at once. There are no bitmaps, streams
or threads: what is pending follows from what differs. Feed it what hosts did (`write`, `flush`) and
what the systems say afterwards (`observe`); it raises ModelError when that can't follow from what
was before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pyrep.model import AckPoint, Direction, FenceLevel, PairStatus, SplitCause
from pyrep.testing.content import BLOCK_BYTES, Content, HostWrite
from pyrep.testing.follows import Asked, Events, Facts, reachable
from pyrep.testing.held import HeldVolume

__all__ = [
    "Facts",
    "KeptSystem",
    "ModelError",
    "Observed",
    "Reference",
    "ReferencePair",
    "VolumeName",
]

VolumeName = tuple[str, str]
"""System id and volume id."""

_DUPLEX, _SPLIT = PairStatus.DUPLEX, PairStatus.SPLIT
_AFTER_DUPLEX = {SplitCause.PATH_LOST, SplitCause.UNCLEAN, SplitCause.CONGESTED}


class ModelError(AssertionError):
    """The systems did what the reference says can't be."""


@dataclass(slots=True, kw_only=True)
class ReferencePair:
    """A pair; `here` is its PVOL's row, `there` its SVOL's."""

    pair_id: str
    pvol: VolumeName
    svol: VolumeName
    ack: AckPoint | None = None
    fence_level: FenceLevel = FenceLevel.NEVER
    here: Facts = field(default_factory=lambda: Facts(status=PairStatus.COPY))
    there: Facts = field(default_factory=lambda: Facts(status=PairStatus.COPY))

    @property
    def is_remote(self) -> bool:
        """Whether its volumes are in two systems."""
        return self.pvol[0] != self.svol[0]

    @property
    def is_fenced(self) -> bool:
        """Whether fence level data keeps hosts off the PVOL: the pair was split by an error."""
        cause = self.here.cause
        return self.fence_level is FenceLevel.DATA and cause is not None and cause.is_error

    def facts_at(self, name: VolumeName) -> Facts:
        """Return what the row of one of its volumes says."""
        return self.here if name == self.pvol else self.there

    def target_at(self, name: VolumeName) -> VolumeName:
        """Return the volume that is copied into, as the row of one of its volumes says."""
        forward = self.facts_at(name).direction is Direction.FORWARD
        return self.svol if forward else self.pvol


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the systems say once they are quiet.

    Attributes:
        sides: per pair, what its PVOL's row and its SVOL's row say; a side that can't be asked is
            left as it was.
        generations: per complete generation that is held, its SVOLs.
    """

    sides: Mapping[str, tuple[Facts | None, Facts | None]]
    generations: Mapping[str, Iterable[VolumeName]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSystem:
    """What a system was when a copy of its directory was made: its sides of its pairs."""

    system_id: str
    pairs: Mapping[str, ReferencePair]


class Reference:
    """Volumes, pairs and generations of systems that are connected to each other."""

    def __init__(self) -> None:
        self._volumes: dict[VolumeName, HeldVolume] = {}
        self.pairs: dict[str, ReferencePair] = {}
        self.generations: dict[str, dict[VolumeName, Content]] = {}
        self.apart: set[str] = set()
        """Remote pairs one of whose systems was put back, and that weren't DUPLEX since: a side
        knows of its own volume alone, and what it says may have been true once."""

    # --- volumes ---------------------------------------------------------------------------------

    def add_volume(self, name: VolumeName, size_bytes: int) -> None:
        """Add a volume that reads as zeros."""
        self._volumes[name] = HeldVolume(Content(size_bytes), Content(size_bytes))

    def add_pair(self, pair: ReferencePair) -> None:
        """Add a pair whose initial copy begins."""
        self.pairs[pair.pair_id] = pair

    def remove_pair(self, pair_id: str) -> None:
        """Forget a dissolved pair, and the generations its SVOL holds with it."""
        svol = self.pairs.pop(pair_id).svol
        for generation_id, members in list(self.generations.items()):
            if svol in members:
                del self.generations[generation_id]

    def names(self) -> tuple[VolumeName, ...]:
        """Return all volumes."""
        return tuple(self._volumes)

    def content(self, name: VolumeName) -> Content:
        """Return what a volume holds; see `is_known`."""
        return self._volumes[name].content

    def holder(self, name: VolumeName) -> str | None:
        """Return the generation that an SVOL holds, if any."""
        return next((one for one, members in self.generations.items() if name in members), None)

    def is_known(self, name: VolumeName) -> bool:
        """Whether the volume's content is definite: no copy into it is half-way."""
        for pair in self.pairs.values():
            for side in (pair.pvol, pair.svol):
                knows = side == name or pair.pair_id not in self.apart
                half_way = not pair.facts_at(side).consistent
                if knows and half_way and pair.target_at(side) == name:
                    return False
            if pair.svol == name and pair.here.status is _DUPLEX and not self.is_known(pair.pvol):
                return False
        return True

    def takes_host_writes(self, name: VolumeName) -> bool:
        """Whether hosts may write (INV-4, INV-5, fence level data), as far as pairs' facts say."""
        if self.holder(name) is not None:
            return False
        for pair in self.pairs.values():
            if name == pair.pvol and pair.is_fenced:
                return False
            if name not in {pair.pvol, pair.svol} or pair.target_at(name) != name:
                continue
            facts = pair.facts_at(name)
            if facts.status is not _SPLIT or not facts.consistent:
                return False
            if name == pair.svol and facts.cause is not SplitCause.REQUESTED:
                return False
        return True

    # --- what hosts do ---------------------------------------------------------------------------

    def write(self, name: VolumeName, write: HostWrite, *, behind: bool = True) -> None:
        """Do a write that was acknowledged, on the volume and on what is DUPLEX behind it.

        Args:
            name: the volume.
            write: the bytes.
            behind: False when the write's mirrors are still waited for.
        """
        volume = self._volumes[name]
        volume.content.apply(write)
        volume.since.append(write)
        if not behind:
            return
        for pair in self._duplex_behind(name):
            self.write(pair.svol, write)
            if pair.ack is AckPoint.DURABLE:
                self.flush(pair.svol)

    def _duplex_behind(self, name: VolumeName) -> list[ReferencePair]:
        return [
            pair
            for pair in self.pairs.values()
            if pair.pvol == name and pair.here.status is _DUPLEX
        ]

    def flush(self, name: VolumeName) -> None:
        """Make what a volume holds durable."""
        volume = self._volumes[name]
        volume.durable = volume.content.copy()
        volume.since.clear()

    def lose_power(self, name: VolumeName, found: bytes) -> None:
        """Take over what a volume holds after its system lost power.

        Raises:
            ModelError: it holds something that it can't hold: neither what was durable nor
                something written since. Each write is kept or lost by itself.
        """
        wrong = self._volumes[name].unexplained(found)
        if wrong is not None:
            raise ModelError(
                f"{':'.join(name)}, byte {wrong}: after the power loss it holds what was never "
                "written there since the last flush"
            )
        self._put(name, Content.of(found))

    # --- copies of a system ----------------------------------------------------------------------

    def keep(self, system_id: str) -> KeptSystem:
        """Return what a system says now of its pairs, for when a copy of it is put back."""
        return KeptSystem(
            system_id=system_id,
            pairs={
                one.pair_id: replace(one)
                for one in self.pairs.values()
                if system_id in {one.pvol[0], one.svol[0]}
            },
        )

    def put_back(self, kept: KeptSystem, found: Mapping[VolumeName, bytes]) -> None:
        """Let a system be what it was: its volumes hold `found`, its sides say what they said.

        Its generations are learnt anew, with what is found (`observe`). What the other sides of its
        remote pairs say and hold is as it was.
        """
        system_id = kept.system_id
        for pair_id, pair in list(self.pairs.items()):
            if not pair.is_remote and pair.pvol[0] == system_id:
                del self.pairs[pair_id]
        for pair_id, old in kept.pairs.items():
            if not old.is_remote:
                self.pairs[pair_id] = replace(old)
                continue
            self.apart.add(pair_id)
            if old.pvol[0] == system_id:
                self.pairs[pair_id].here = old.here
            else:
                self.pairs[pair_id].there = old.there
        for generation_id, members in list(self.generations.items()):
            for name in [one for one in members if one[0] == system_id]:
                del members[name]
            if not members:
                del self.generations[generation_id]
        for name, data in found.items():
            self._put(name, Content.of(data))

    def _put(self, name: VolumeName, content: Content) -> None:
        self._volumes[name] = HeldVolume(content.copy(), content.copy())

    # --- what systems say ------------------------------------------------------------------------

    def observe(
        self,
        observed: Observed,
        *,
        asked: Mapping[str, Asked] | None = None,
        crashed: Iterable[str] = (),
        path_was_lost: bool = False,
        congested: bool = False,
        device_failed: Iterable[VolumeName] = (),
        frozen: Mapping[str, Mapping[VolumeName, Content]] | None = None,
    ) -> None:
        """Take over what quiet systems say, if it can follow from what was.

        Args:
            observed: what they say.
            asked: the commands that were accepted since, by pair.
            crashed: systems that ended uncleanly since.
            path_was_lost: whether the path was down at some moment since.
            congested: whether hosts may have found a queue full since.
            device_failed: volumes that failed since.
            frozen: content of new generations that isn't what their SVOLs held before (a backup
                copied into them first).

        Raises:
            ModelError: it can't follow.
        """
        before = {pair_id: replace(pair) for pair_id, pair in self.pairs.items()}
        commands, failed, crashed = asked or {}, set(device_failed), set(crashed)
        self._take_generations(observed, frozen or {})
        for pair_id, (here, there) in observed.sides.items():
            pair = self.pairs[pair_id]
            if pair_id in self.apart:
                pair.here, pair.there = here or pair.here, there or pair.there
                continue
            events = Events(
                is_remote=pair.is_remote,
                asked=commands.get(pair_id),
                crashed=bool({pair.pvol[0], pair.svol[0]} & crashed),
                path_was_lost=path_was_lost,
                congested=congested,
                device_failed=bool({pair.pvol, pair.svol} & failed),
            )
            self._take_facts(pair, here or pair.here, there or pair.there, events)
        self._check_consistency()
        for pair_id in self._copy_order(before, commands):
            pair, again = self.pairs[pair_id], commands.get(pair_id) is Asked.RESTORE
            # It may have been SPLIT meanwhile, and be DUPLEX again; a remote pair's primary may not
            # have noticed that the secondary was gone.
            gone = pair.svol[0] if pair.is_remote else pair.pvol[0]
            again |= gone in crashed and pair.there.status is _DUPLEX
            self._finish_copy(before, pair, commands.get(pair_id), again=again)
            if pair.here.status is pair.there.status is _DUPLEX:
                self.apart.discard(pair_id)

    def _take_facts(self, pair: ReferencePair, here: Facts, there: Facts, events: Events) -> None:
        # A secondary that was out of reach is told late: it goes where the primary is.
        follows = (there.status, there.cause) == (here.status, here.cause)
        for old, new, told in ((pair.here, here, False), (pair.there, there, follows)):
            if not told and new.place not in reachable(old.place, events):
                raise ModelError(f"pair {pair.pair_id} can't go from {old} to {new} by {events}")
        was_duplex = pair.here.status is _DUPLEX
        if (
            events.asked is Asked.SPLIT
            and was_duplex
            and pair.here.consistent
            and pair.there.consistent
            and not (here.consistent and there.consistent)
        ):
            raise ModelError(f"pair {pair.pair_id} lost its consistency by being split")
        protected = here.cause is SplitCause.PROTECT and was_duplex
        if protected and self.holder(pair.svol) is None and self.is_known(pair.svol):
            raise ModelError(f"pair {pair.pair_id} was split to protect, and no generation made")
        pair.here, pair.there = here, there

    def _check_consistency(self) -> None:
        """A local mirror is as consistent as what it mirrors; a remote one is when it is DUPLEX."""
        for pair in self.pairs.values():
            for facts in (pair.here, pair.there):
                follows = not pair.is_remote and not self.is_known(pair.pvol)
                if facts.status is _DUPLEX and not facts.consistent and not follows:
                    raise ModelError(f"pair {pair.pair_id} is DUPLEX and inconsistent")

    def _take_generations(
        self, observed: Observed, frozen: Mapping[str, Mapping[VolumeName, Content]]
    ) -> None:
        for gone in self.generations.keys() - observed.generations.keys():
            del self.generations[gone]
        for generation_id, members in self.generations.items():
            # An SVOL that was overwritten is gone; another one keeps the generation of its volume.
            for name in members.keys() - set(observed.generations[generation_id]):
                del members[name]
        for generation_id in observed.generations.keys() - self.generations.keys():
            svols = observed.generations[generation_id]
            held = frozen.get(generation_id, {})
            for name in svols:
                if name in held:
                    self._put(name, held[name])
                elif not self.is_known(name):
                    raise ModelError(f"generation {generation_id} has an inconsistent content")
                self.flush(name)
            # Whatever was copied to the source since, the SVOLs kept what they held before.
            self.generations[generation_id] = {name: self.content(name).copy() for name in svols}

    def _copy_order(
        self, before: Mapping[str, ReferencePair], asked: Mapping[str, Asked]
    ) -> list[str]:
        """Return the pairs in the order in which content can have gone through them.

        Up from the generation to the PVOL, then down from the PVOL to the mirrors.
        """

        def place_in_line(pair: ReferencePair) -> int:
            if _goes_back(before[pair.pair_id], asked.get(pair.pair_id)):
                return 2 if pair.is_remote else 1
            return 3 if pair.is_remote else 4

        return [one.pair_id for one in sorted(self.pairs.values(), key=place_in_line)]

    def _finish_copy(
        self,
        before: Mapping[str, ReferencePair],
        pair: ReferencePair,
        asked: Asked | None,
        *,
        again: bool,
    ) -> None:
        """Put the source's content where a copy has ended; it is durable there (INV-3)."""
        old, now = before[pair.pair_id].here, pair.here
        back = _goes_back(before[pair.pair_id], asked)
        was_duplex_since = (
            old.status is PairStatus.COPY
            and pair.is_remote
            and now.status is _SPLIT
            and now.consistent
            and now.cause in _AFTER_DUPLEX
        )
        is_duplex_anew = now.status is _DUPLEX and (old.status is not _DUPLEX or again)
        if was_duplex_since or is_duplex_anew:
            self._copy(pair, before, back=back)
        elif now.status is _SPLIT and now.consistent and back and not pair.is_remote:
            self._copy(pair, before, back=True)

    def _copy(
        self, pair: ReferencePair, before: Mapping[str, ReferencePair], *, back: bool
    ) -> None:
        source, target = (pair.svol, pair.pvol) if back else (pair.pvol, pair.svol)
        content = self.content(source)
        was_known = before[pair.pair_id].here.consistent and before[pair.pair_id].there.consistent
        if was_known and content != self.content(target):
            for one in self._duplex_behind(target):
                if not one.is_remote and before[one.pair_id].here.status is _DUPLEX:
                    raise ModelError(
                        f"pair {one.pair_id} stayed DUPLEX while {':'.join(target)} was copied "
                        "into: no consistent copy was kept"
                    )
        self._put(target, content)
        for one in self._duplex_behind(target):
            # It got every byte, but nobody flushed it.
            for index in list(self.content(one.svol).differing_from(content)):
                self.write(one.svol, _block_of(content, index))


def _block_of(content: Content, index: int) -> HostWrite:
    offset = index * BLOCK_BYTES
    length = min(BLOCK_BYTES, content.size_bytes - offset)
    return HostWrite(offset=offset, data=content.read(length, offset))


def _goes_back(old: ReferencePair, asked: Asked | None) -> bool:
    here = old.here
    interrupted = here.status is PairStatus.COPY and here.direction is Direction.REVERSE
    return asked in {Asked.REVERSE, Asked.RESTORE} or (interrupted and asked is not Asked.SPLIT)
