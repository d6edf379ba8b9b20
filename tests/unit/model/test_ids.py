from __future__ import annotations

import pytest

from pyrep.errors import InvalidArgumentError
from pyrep.model.ids import SystemId, check_id, check_key, make_pair_id, new_key


@pytest.mark.parametrize("text", ["105a", "A", "vol.1_x-y", "0", "a" * 64])
def test_a_plain_name_is_an_id(text: str) -> None:
    assert check_id("volume", text) == text


@pytest.mark.parametrize(
    "text", ["", ".", "..", "-x", "_x", "a/b", "a b", "a\n", "ä", "a" * 65, "a\0"]
)
def test_what_would_be_a_path_an_option_or_a_riddle_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="volume id") as caught:
        check_id("volume", text)
    assert caught.value.hint


def test_a_pair_is_named_after_its_maker() -> None:
    assert make_pair_id(SystemId("100a"), 7) == "100a.7"


def test_keys_are_sixteen_bytes_and_never_the_same() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {16}


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="15 bytes"):
        check_key("row", bytes(15))
