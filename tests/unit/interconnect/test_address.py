from __future__ import annotations

import pytest

from pyrep.errors import InvalidArgumentError
from pyrep.interconnect.address import Address


@pytest.mark.parametrize("text", ["127.0.0.1:7001", "[::1]:0", "site-b.example:65535"])
def test_an_address_reads_as_it_is_written(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", ":1", "host", "host:", "host:x", "host:65536", "::1:7001", "[host]:1", "h:-1", "h:²"],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Address.parse(text)
    assert caught.value.hint is not None
    assert "host:port" in caught.value.hint
