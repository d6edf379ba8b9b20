"""Routes: which request becomes which call, and what the OpenAPI document says of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import msgspec

from pyrep.api.jobtable import JobTable
from pyrep.api.requests import Asked, Nothing
from pyrep.engine import StorageSystem
from pyrep.errors import InvalidArgumentError, NotFoundError

__all__ = ["PREFIX", "Answers", "Route", "Router", "Site", "route", "routes"]

PREFIX = "/v1"

A = TypeVar("A", bound=Asked)
Handler = Callable[..., Any]


class Answers(Enum):
    """What a request's answer is."""

    JSON = "json"
    JOB = "job"
    OCTETS = "octets"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What requests are about.

    Attributes:
        system: the storage system that is served.
        jobs: its long operations.
        facts: what the daemon says of itself beside, for `GET /system`.
    """

    system: StorageSystem
    jobs: JobTable
    facts: Callable[[], Mapping[str, Any]] = dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One request that can be made.

    Attributes:
        method: GET, PUT, POST or DELETE.
        path: below the version, with `{names}` of ids.
        asked: what its query (GET, PUT, DELETE) or body (POST) holds.
        handler: called with the site, the ids in their order, what was asked, and the octets (PUT).
        answers: what comes back.
        summary: one line.
    """

    method: str
    path: str
    asked: type[Asked]
    handler: Handler
    answers: Answers
    summary: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The path's parts."""
        return tuple(self.path.strip("/").split("/"))


_routes: list[Route] = []


def route(
    method: str,
    path: str,
    asked: type[Asked] = Nothing,
    *,
    answers: Answers = Answers.JSON,
) -> Callable[[Handler], Handler]:
    """Make a function the handler of a request; its docstring's first line is the summary."""

    def decorate(handler: Handler) -> Handler:
        summary = (handler.__doc__ or "").strip().splitlines()[0]
        _routes.append(
            Route(
                method=method,
                path=path,
                asked=asked,
                handler=handler,
                answers=answers,
                summary=summary,
            )
        )
        return handler

    return decorate


def routes() -> tuple[Route, ...]:
    """Return all routes."""
    return tuple(_routes)


class Router:
    """Finds the route of a request. What stands in the path goes before a `{name}`."""

    def __init__(self) -> None:
        self._routes = sorted(routes(), key=lambda one: [part[0] == "{" for part in one.parts])

    def find(self, method: str, parts: tuple[str, ...]) -> tuple[Route, tuple[str, ...]]:
        """Return the route and the ids in the path.

        Raises:
            NotFoundError: there is none; the message tells a wrong method from a wrong path.
        """
        others = set()
        for one in self._routes:
            if len(one.parts) != len(parts):
                continue
            matched = list(zip(one.parts, parts, strict=True))
            if all(here[0] == "{" or here == there for here, there in matched):
                if one.method == method:
                    return one, tuple(there for here, there in matched if here[0] == "{")
                others.add(one.method)
        path = f"{PREFIX}/{'/'.join(parts)}"
        if others:
            raise NotFoundError(f"{path} takes no {method}", hint=f"it takes {', '.join(others)}")
        raise NotFoundError(f"there is no {path}", hint=f"{PREFIX}/openapi.json lists all")


def decode_body(body: bytes, kind: type[A]) -> A:
    """Return a body. InvalidArgumentError: it isn't one of these."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.MsgspecError as error:
        raise InvalidArgumentError(f"the request's body can't be used: {error}") from error


def decode_query(query: Mapping[str, str], kind: type[A]) -> A:
    """Return a query. InvalidArgumentError: it isn't one of these."""
    try:
        return msgspec.convert(dict(query), type=kind, strict=False)
    except msgspec.MsgspecError as error:
        raise InvalidArgumentError(f"the request's query can't be used: {error}") from error
