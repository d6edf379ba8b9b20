"""The difference of two files' content, each inside its file system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from pyrep.fs.ext_library import Native, library
from pyrep.fs.ext_native import ExtHandle, locked_both

__all__ = ["Delta", "Needs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What making one file's content like another's takes, in blocks.

    Attributes:
        blocks_to_take: whole clusters, in blocks; as many as blocks_to_map without bigalloc.
        map_blocks: metadata that the new blocks may take, at most.
        own_places_free: the new blocks can be where the source has them.
    """

    blocks_to_map: int
    blocks_to_unmap: int
    blocks_to_take: int
    map_blocks: int
    own_places_free: bool
    size_differs: bool


class Delta:
    """The difference of two files' content; `close` it."""

    def __init__(
        self, source: ExtHandle, source_inode: int, target: ExtHandle, target_inode: int
    ) -> None:
        self._ffi, self._lib = library()
        self._source = source
        self._target = target
        out = self._ffi.new("rep_ext_delta **")
        self._pointer: Native = None
        with locked_both(self._source, self._target):
            code = self._lib.rep_ext_delta_new(
                source.pointer, source_inode, target.pointer, target_inode, out
            )
            target.check(code, f"compare with a file in {source.name}")
        self._pointer = out[0]

    def close(self) -> None:
        """Free it. Harmless when done before."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            self._lib.rep_ext_delta_free(pointer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def needs(self) -> Needs:
        """Return the blocks that the target lacks or has too many."""
        out = self._ffi.new("rep_ext_needs *")
        with locked_both(self._source, self._target):
            self._lib.rep_ext_delta_needs(self._pointer, out)
        return Needs(
            blocks_to_map=out.blocks_to_map,
            blocks_to_unmap=out.blocks_to_unmap,
            blocks_to_take=out.blocks_to_take,
            map_blocks=out.map_blocks,
            own_places_free=bool(out.own_places_free),
            size_differs=bool(out.size_differs),
        )

    def is_untouched(self, changed: Sequence[tuple[int, int]]) -> bool:
        """Whether both files have the same size and blocks, none in `changed` (offset, length)."""
        extents = self._ffi.new("rep_extent[]", [*changed])
        with locked_both(self._source, self._target):
            answer = self._lib.rep_ext_delta_is_untouched(self._pointer, extents, len(changed))
        return bool(answer)

    def _step(self, function: Callable[..., int], doing: str, budget: int) -> tuple[bool, int, int]:
        counted = self._ffi.new("uint64_t[2]")
        with locked_both(self._source, self._target):
            more = function(self._pointer, budget, counted, counted + 1)
            self._target.check(more, doing)
        return more == 1, int(counted[0]), int(counted[1])

    def compare(self, budget: int) -> tuple[bool, int, int]:
        """Compare on; return (more to come, bytes of blocks that differ, bytes compared)."""
        return self._step(self._lib.rep_ext_delta_compare, "compare a file", budget)

    def map(self) -> None:
        """Give the target the source's size, holes and blocks."""
        with locked_both(self._source, self._target):
            self._target.check(self._lib.rep_ext_delta_map(self._pointer), "give a file room")

    def write(self, budget: int) -> tuple[bool, int, int]:
        """Write on; return (more to come, bytes written to the volume, bytes compared)."""
        return self._step(self._lib.rep_ext_delta_write, "write a file", budget)
