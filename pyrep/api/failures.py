"""Errors as the API tells them, and as its clients raise them again."""

from __future__ import annotations

from typing import Any

from pyrep import errors
from pyrep.errors import DeviceError, HostAgentError, PyrepError, WorkflowError

__all__ = ["failure_from", "failure_to"]


def failure_to(error: PyrepError) -> dict[str, Any]:
    """Return an error as JSON-able data: class, message, hint, exit code, and what it has beside.

    A workflow's step is a number, a host's action a text; both are `step`.
    """
    told: dict[str, Any] = {
        "error": type(error).__name__,
        "message": str(error),
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    if isinstance(error, (WorkflowError, HostAgentError)):
        told["step"] = error.step
    elif isinstance(error, DeviceError):
        told["errno"] = error.errno_code
    return told


def failure_from(told: dict[str, Any]) -> PyrepError:
    """Return the error to raise: of the same class, with the same hint and exit code.

    A class that this version doesn't have becomes a `PyrepError`.
    """
    name, message, hint = told.get("error"), str(told.get("message", "")), told.get("hint")
    kind = getattr(errors, name, None) if name in errors.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, PyrepError)):
        return PyrepError(message, hint=hint)
    error: PyrepError = kind(message, hint=hint)
    if isinstance(error, (WorkflowError, HostAgentError)):
        error.step = told.get("step")
    elif isinstance(error, DeviceError) and told.get("errno") is not None:
        error.errno_code = told["errno"]
    return error
