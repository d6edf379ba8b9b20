from __future__ import annotations

from dataclasses import replace

from pyrep.cli.demo.ledger import FileRecord, Ledger, digest_spans, span_digest
from pyrep.fs import FileKind
from pyrep.model import MIB


def record(file_id: int, kind: FileKind) -> FileRecord:
    return FileRecord(file_id=file_id, kind=kind, mode=0o644, uid=0, gid=0, mtime_ns=100)


def ledger(*paths: bytes) -> Ledger:
    made = Ledger()
    for path in paths:
        kind = FileKind.REGULAR if b"." in path else FileKind.DIRECTORY
        made.set(path, record(made.next_number(), kind))
    return made


def test_digests_are_of_each_mib_however_it_is_cut() -> None:
    data = bytes(range(256)) * 4096 * 2 + b"the end"
    size, digests = digest_spans([data])
    assert size == len(data)
    assert digests == digest_spans([data[:MIB], data[MIB:]])[1]
    assert digests[0] == digests[1] == span_digest(data[:MIB])
    assert digests[2] == span_digest(b"the end")


def test_a_file_with_several_names_changes_under_all_of_them() -> None:
    files = ledger(b"/", b"/a.txt")
    files.set(b"/b.txt", files[b"/a.txt"])
    files.set(b"/b.txt", replace(files[b"/b.txt"], size=7))
    assert files[b"/a.txt"].size == 7
    assert sorted(files.names_of(files[b"/a.txt"].file_id)) == [b"/a.txt", b"/b.txt"]


def test_a_tree_is_removed_whole_and_its_neighbours_stay() -> None:
    files = ledger(b"/", b"/d", b"/d/f.txt", b"/d/e", b"/d/e/g.txt", b"/dd", b"/d.txt")
    files.remove_tree(b"/d")
    assert set(files.records) == {b"/", b"/dd", b"/d.txt"}


def test_a_copy_changes_apart() -> None:
    files = ledger(b"/", b"/a.txt")
    other = files.copy()
    other.remove_tree(b"/a.txt")
    assert b"/a.txt" in files.records
    assert files.next_number() == other.next_number() == 3


def test_a_restore_brings_back_what_was_chosen_and_keeps_the_rest() -> None:
    before = ledger(b"/", b"/d", b"/d/f.txt", b"/x", b"/x/one.txt", b"/x/two.txt")
    now = before.copy()
    now.remove_tree(b"/d")
    now.set(b"/x/one.txt", replace(now[b"/x/one.txt"], size=5))
    now.set(b"/x/two.txt", replace(now[b"/x/two.txt"], size=6))
    now.restore(before, [b"/d", b"/x/one.txt"], since_ns=10, until_ns=20)
    assert now[b"/d/f.txt"] == before[b"/d/f.txt"]
    assert now[b"/x/one.txt"] == before[b"/x/one.txt"]
    assert now[b"/x/two.txt"].size == 6


def test_only_a_directory_in_which_names_came_or_went_may_have_a_new_time() -> None:
    before = ledger(b"/", b"/d", b"/d/f.txt", b"/x", b"/x/one.txt")
    now = before.copy()
    now.remove_tree(b"/d")
    now.set(b"/x/one.txt", replace(now[b"/x/one.txt"], size=5))
    now.restore(before, [b"/d", b"/x/one.txt"], since_ns=10, until_ns=20)
    assert (now[b"/"].mtime_ns, now[b"/"].mtime_until_ns) == (10, 20)
    assert now[b"/x"] == before[b"/x"]
    assert now[b"/d"] == before[b"/d"]
