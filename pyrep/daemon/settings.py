"""The shape of the configuration file: its tables, keys, and what each may be (docs/serve.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from pyrep.engine import BadBitmap, ChangedBacking, Digests
from pyrep.model import Compare, DigestKind

__all__ = [
    "PLAIN_WORDS",
    "ApiSettings",
    "EngineSettings",
    "HostSettings",
    "LogSettings",
    "PathSettings",
    "PeerSettings",
    "TimingSettings",
    "TlsSettings",
]

PLAIN_WORDS = "not encrypted, not authenticated"
"""What `[path] plain` has to say before anything is sent in plain."""

_Seconds = Annotated[float, Meta(gt=0, lt=1e6)]
_SecondsOrNone = Annotated[float, Meta(ge=0, le=1e6)]
_Rate = Annotated[int, Meta(gt=0, lt=(1 << 63) - 1)]
_GroupId = Annotated[int, Meta(ge=0, lt=(1 << 32) - 1)]


class TlsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[path.tls]: files are relative to the configuration's directory."""

    certificate: str
    key: str
    authority: str
    denied: list[str] = []


class TimingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[path.timing]: see `PathTiming`."""

    connect_s: _Seconds = 10.0
    ping_s: _Seconds = 10.0
    ping_timeout_s: _Seconds = 6.0
    retry_first_s: _Seconds = 0.2
    retry_most_s: _Seconds = 15.0


class PathSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[path]: where other systems dial this one, and that nothing is protected."""

    listen: str | None = None
    plain: Literal["not encrypted, not authenticated"] | None = None


class PeerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[peers.SYSTEM-ID]: a system that this one dials."""

    address: str


class ApiSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[api]: where the socket is, and the group that may use it beside root and this user."""

    socket: str | None = None
    group: str | _GroupId | None = None


class EngineSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[engine]: see `Options`; what isn't given is its default."""

    changed_backing: ChangedBacking | UnsetType = UNSET
    bad_bitmap: BadBitmap | UnsetType = UNSET
    digests: Digests | UnsetType = UNSET
    ack_timeout_s: _Seconds | UnsetType = UNSET
    queue_bytes: Annotated[int, Meta(ge=4 << 20, le=64 << 30)] | UnsetType = UNSET
    copy_wait_s: _SecondsOrNone | UnsetType = UNSET
    hold_max_ms: Annotated[float, Meta(gt=0, le=1e6)] | UnsetType = UNSET
    digest_rate_bytes_s: Annotated[int, Meta(ge=0, lt=(1 << 63) - 1)] | UnsetType = UNSET
    copy_ceiling_bytes_s: _Rate | None = None
    copy_floor_bytes_s: _Rate | None = None
    copy_workers: Annotated[int, Meta(ge=1, le=64)] | UnsetType = UNSET
    compare: Compare | UnsetType = UNSET
    compare_by: DigestKind | UnsetType = UNSET
    converge_window_s: _SecondsOrNone | UnsetType = UNSET
    converge_share: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    ageing_s: _SecondsOrNone | UnsetType = UNSET
    hot_regions: Annotated[int, Meta(ge=16, le=65535)] | UnsetType = UNSET
    region_bytes: Annotated[int, Meta(ge=1 << 20, le=64 << 20)] | UnsetType = UNSET


class HostSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[hosts.VOLUME-ID]: commands on the volume's host, each a list of arguments."""

    stop: list[str] | None = None
    start: list[str] | None = None
    unmount: list[str] | None = None
    mount: list[str] | None = None
    recover: list[str] | None = None
    timeout_s: _Seconds = 60.0


class LogSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[log]: what goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "warning"
    format: Literal["text", "json"] = "text"
