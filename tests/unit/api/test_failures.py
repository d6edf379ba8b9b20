from __future__ import annotations

import errno
import json

import pytest

from pyrep.api import failure_from, failure_to
from pyrep.errors import (
    HostAgentError,
    NoSpaceError,
    PyrepError,
    RefusedError,
    WorkflowError,
)


@pytest.mark.parametrize(
    "error",
    [
        RefusedError("cannot split", hint="wait"),
        RefusedError("without a hint"),
        NoSpaceError("full", errno_code=errno.EDQUOT),
        WorkflowError("stopped", hint="resume it", step=450),
        HostAgentError("failed", step="unmount"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_as_it_was(error: PyrepError) -> None:
    told = failure_to(error)
    assert told["exit_code"] == error.exit_code
    back = failure_from(json.loads(json.dumps(told)))
    assert type(back) is type(error)
    assert vars(back) == vars(error)


@pytest.mark.parametrize("name", ["OtherError", "format_error", "__all__", None])
def test_a_class_that_is_not_known_here_is_the_root_of_all(name: str | None) -> None:
    error = failure_from({"error": name, "message": "m", "hint": "h", "exit_code": 99})
    assert type(error) is PyrepError
    assert (error.message, error.hint) == ("m", "h")
