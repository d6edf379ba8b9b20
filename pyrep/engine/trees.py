"""Trees: which volumes local pairs join, and the core's object that they share."""

from __future__ import annotations

import itertools

from pyrep._core import Tree, VolumeCore, move_volumes

__all__ = ["Trees"]

# Gates are closed in the order of these numbers, also across the systems of one process.
_numbers = itertools.count(1)


class Trees:
    """The trees of one system. Trees that volumes have left stay alive until `close`."""

    def __init__(self) -> None:
        self._all: list[Tree] = []
        self._members: dict[Tree, list[VolumeCore]] = {}

    def plant(self) -> Tree:
        """Return a new tree without volumes."""
        tree = Tree(next(_numbers))
        self._all.append(tree)
        self._members[tree] = []
        return tree

    def add(self, volume: VolumeCore) -> None:
        """Count a new volume in, in the tree it was made with."""
        self._members[volume.tree].append(volume)

    def remove(self, volume: VolumeCore) -> None:
        """Count a volume out that is going to be closed."""
        self._members[volume.tree].remove(volume)

    def members(self, volume: VolumeCore) -> tuple[VolumeCore, ...]:
        """Return all volumes of the volume's tree."""
        return tuple(self._members[volume.tree])

    def join(self, one: VolumeCore, other: VolumeCore) -> None:
        """Make one tree of the two volumes' trees: a local pair is being created."""
        if one.tree is other.tree:
            return
        source = other.tree
        moving = self._members.pop(source)
        self._members[source] = []
        move_volumes(moving, source, one.tree)
        self._members[one.tree].extend(moving)

    def part(self, leaving: list[VolumeCore]) -> None:
        """Give these volumes of one tree a tree of their own: a local pair was dissolved."""
        source = leaving[0].tree
        tree = self.plant()
        move_volumes(leaving, source, tree)
        for volume in leaving:
            self._members[source].remove(volume)
        self._members[tree].extend(leaving)

    def close(self) -> None:
        """Free all trees; their volumes are closed."""
        for tree in self._all:
            tree.close()
        self._all.clear()
        self._members.clear()
