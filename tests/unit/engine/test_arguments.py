"""Arguments of a wrong type are refused in words, as wrong values are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyrep.engine import StorageSystem, Volume
from pyrep.errors import InvalidArgumentError, OutOfRangeError, PyrepError
from pyrep.interconnect.address import Address
from rig import SIZE, Site


@pytest.mark.parametrize(
    "call",
    [
        lambda system: system.create_volume("z", 1.5),
        lambda system: system.create_volume("z", "5"),
        lambda system: system.create_volume(5, SIZE),
        lambda system: system.create_local_pair("105b", "107b", chunk_bytes="8192"),
        lambda system: system.create_local_pair("105b", "107b", chunk_bytes=8192.0),
        lambda system: system.kept(system.list_generations()[0].generation_id).verify("50"),
        lambda system: system.kept(system.list_generations()[0].generation_id).verify(None),
        lambda system: system.kept(system.list_generations()[0].generation_id).pin(5),
        lambda system: system.kept(system.list_generations()[0].generation_id).rename(5),
    ],
)
def test_an_argument_of_a_wrong_type_is_refused_and_nothing_is_made(
    site: Site, call: Callable[[Any], object]
) -> None:
    system = site.make("100b", "105b", "106b", "107b")
    pair = system.create_local_pair("105b", "106b")
    pair.wait()
    pair.split()
    before = system.table(), system.volumes(), system.list_generations()
    with pytest.raises(InvalidArgumentError):
        call(system)
    assert (system.table(), len(system.volumes()), system.list_generations()) == (
        before[0],
        len(before[1]),
        before[2],
    )


def test_an_error_late_in_opening_leaves_the_system_free_to_be_opened_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = site.make("100b", "105b")
    system.close()

    def fail(_system: StorageSystem) -> None:
        raise RuntimeError("an embedder's own")

    monkeypatch.setattr(StorageSystem, "on_open", [fail])
    with pytest.raises(RuntimeError, match="own"):
        StorageSystem.open(site.root / "100b")
    monkeypatch.undo()
    assert site.open("100b").volume("105b").pread(1, 0) == b"\0"


_WRONG = [None, -1, 1.5, 2**70, b"\xff", [], {"a": 1}, object()]


@pytest.mark.parametrize("value", [*_WRONG, "\ud800", "a\0b"])
@pytest.mark.parametrize(
    "call",
    [
        lambda system, value: system.volume(value),
        lambda system, value: system.pair(value),
        lambda system, value: system.kept(value),
        lambda system, value: system.policy(value),
        lambda system, value: system.apply_retention(value),
        lambda system, value: system.delete_volume(value),
        lambda system, value: system.create_local_pair(value, "107b"),
        lambda system, value: system.create_local_pair("105b", value),
        lambda system, value: system.create_remote_pair("105b", value, "x", group="g"),
        lambda system, value: system.protect_generation(value),
        lambda system, value: system.ask(value, "verb", {}),
        lambda _, value: Address.parse(value),
        lambda system, value: system.attach_volume("z", value),
        lambda system, value: system.split_pairs([value]),
        lambda system, value: system.wait_marker(value),
        lambda system, value: system.set_policy(next_svol=value or 0),
        lambda system, value: system.set_policy(retention=value or 0),
    ],
)
def test_what_names_nothing_is_refused_in_words(
    site: Site, call: Callable[[Any, object], object], value: object
) -> None:
    system = site.make("100b", "105b", "106b", "107b")
    before = system.table(), system.list_generations(), system.policy("105b")
    with pytest.raises(PyrepError):
        call(system, value)
    assert (system.table(), system.list_generations(), system.policy("105b")) == before
    assert [one.volume_id for one in system.volumes()] == ["105b", "106b", "107b"]


@pytest.mark.parametrize("value", [*_WRONG, "x"])
@pytest.mark.parametrize(
    "call",
    [
        lambda volume, value: volume.pread(value, 0),
        lambda volume, value: volume.pread(1, value),
        lambda volume, value: volume.pread_into(bytearray(1), value),
        lambda volume, value: volume.pwrite(b"x", value),
        lambda volume, value: volume.pwrite(bytearray(b"x"), value),
        lambda volume, value: volume.zero(value, 0),
        lambda volume, value: volume.zero(1, value),
        lambda volume, value: volume.trim(value, 0),
        lambda volume, value: volume.trim(1, value),
    ],
)
def test_a_range_that_is_none_is_refused_in_words_and_nothing_is_written(
    site: Site, call: Callable[[Volume, Any], object], value: object
) -> None:
    volume = site.make("100b", "105b").volume("105b")
    volume.pwrite(b"content", 0)
    with pytest.raises((InvalidArgumentError, OutOfRangeError)):
        call(volume, value)
    assert volume.pread(8, 0) == b"content\0"


@pytest.mark.parametrize("value", [None, 1.5, "text", object(), {"a": 1}])
def test_what_has_no_bytes_is_not_written(site: Site, value: Any) -> None:
    volume = site.make("100b", "105b").volume("105b")
    with pytest.raises(InvalidArgumentError):
        volume.pwrite(value, 0)
    with pytest.raises(InvalidArgumentError):
        volume.pread_into(value, 0)


@pytest.mark.parametrize("value", ["x", [], -1, float("nan")])
def test_what_is_no_time_to_wait_is_refused(site: Site, value: Any) -> None:
    system = site.make("100b", "105b", "106b")
    pair = system.create_local_pair("105b", "106b")
    pair.wait()
    with pytest.raises(InvalidArgumentError):
        pair.wait(timeout_s=value)
    with pytest.raises(InvalidArgumentError):
        pair.wait("no status")  # type: ignore[arg-type]
