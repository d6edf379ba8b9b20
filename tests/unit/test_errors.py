from __future__ import annotations

import errno
import pickle
from collections.abc import Iterator

import pytest

from pyrep import errors
from pyrep.errors import (
    DeviceError,
    HostAgentError,
    NoSpaceError,
    NotFoundError,
    PyrepError,
    ReadOnlyError,
    WorkflowError,
    format_error,
)


def all_classes(root: type[PyrepError] = PyrepError) -> Iterator[type[PyrepError]]:
    yield root
    for each in root.__subclasses__():
        yield from all_classes(each)


def test_every_class_has_an_exit_code_of_its_own() -> None:
    codes = {cls.__name__: cls.exit_code for cls in all_classes()}
    assert len(set(codes.values())) == len(codes)
    # 0 is success; above 125 the shell speaks of itself and of signals.
    assert all(0 < code <= 125 for code in codes.values())


def test_every_class_is_handed_on_by_name() -> None:
    for cls in all_classes():
        assert cls.__name__ in errors.__all__


def test_the_hint_stands_on_a_line_of_its_own() -> None:
    error = NotFoundError("no volume 105a", hint="known volumes: 105b")
    assert str(error) == "no volume 105a"
    assert format_error(error) == "no volume 105a\nhint: known volumes: 105b"


def test_an_error_without_a_hint_is_its_message_alone() -> None:
    assert format_error(NotFoundError("no volume 105a")) == "no volume 105a"


def test_an_error_of_another_library_without_text_is_named_by_its_class() -> None:
    assert format_error(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_device_errors_carry_the_errno_or_the_one_of_their_class() -> None:
    assert DeviceError("x").errno_code == errno.EIO
    assert NoSpaceError("x").errno_code == errno.ENOSPC
    assert ReadOnlyError("x", errno_code=errno.EACCES).errno_code == errno.EACCES


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("m", hint="h"),
        NoSpaceError("m", hint="h", errno_code=errno.EDQUOT),
        WorkflowError("m", hint="h", step=450),
        HostAgentError("m", hint="h", step="stop"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_pickling_whole(error: PyrepError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
