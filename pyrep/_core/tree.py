"""Trees: the gate and range locks that volumes joined by local pairs share."""

from __future__ import annotations

from pyrep._core.native import Owned, check, ffi, lib

__all__ = [
    "Tree",
]


class Tree(Owned):
    """Gate and range locks of volumes joined by local pairs. Close it after its volumes."""

    def __init__(self, tree_id: int) -> None:
        out = ffi.new("rep_tree **")
        check(lib.rep_tree_new(tree_id, out), "making a tree")
        super().__init__(out[0], lib.rep_tree_free)
        self.tree_id = tree_id
