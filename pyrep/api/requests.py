"""What is asked of the API: bodies of commands and queries of questions, checked when decoded."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "Abandon",
    "Annotate",
    "BackupAsked",
    "CreatePair",
    "CreateVolume",
    "Digest",
    "Dissolve",
    "EstimateResync",
    "History",
    "Look",
    "Nothing",
    "Pending",
    "PendingFiles",
    "Pin",
    "Range",
    "RestoreAsked",
    "Resync",
    "Retain",
    "SetPolicy",
    "SetProtect",
    "SplitOne",
    "SplitSeveral",
    "VerifyGeneration",
    "VerifyPair",
    "WaitFor",
    "WaitForJob",
    "WaitForMarker",
    "WriteAt",
]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request; what it doesn't know is refused, so that no option is ignored silently."""


class Nothing(Asked, frozen=True, kw_only=True):
    """No field."""


class CreateVolume(Asked, frozen=True, kw_only=True):
    """`size_bytes`: a new sparse file. `path`: a file or device that is there."""

    volume_id: str
    size_bytes: int | None = None
    path: str | None = None


class Range(Asked, frozen=True, kw_only=True):
    """Bytes of a volume."""

    offset: int
    length: int


class WriteAt(Asked, frozen=True, kw_only=True):
    """Where octets go."""

    offset: int


class CreatePair(Asked, frozen=True, kw_only=True):
    """`system_id`: the secondary of a remote pair; None: a local pair."""

    pvol: str
    svol: str
    system_id: str | None = None
    group: str | None = None
    ack: str | None = None
    congestion: str | None = None
    fence_level: str | None = None
    protect: str | None = None
    chunk_bytes: int | None = None


class SplitOne(Asked, frozen=True, kw_only=True):
    """`label`: of the generation that a local pair becomes."""

    label: str = ""


class SplitSeveral(Asked, frozen=True, kw_only=True):
    """Pairs that are split at one point."""

    pair_ids: list[str]
    label: str = ""


class Resync(Asked, frozen=True, kw_only=True):
    """See `Pair.resync`."""

    direction: Literal["forward", "reverse"] | None = None
    discard: str | None = None
    force: str | None = None
    ceiling_bytes_s: int | None = None
    floor_bytes_s: int | None = None
    workers: int | None = None
    compare: str | None = None


class EstimateResync(Asked, frozen=True, kw_only=True):
    """See `Pair.estimate`."""

    direction: Literal["forward", "reverse"] | None = None
    discard: str | None = None


class VerifyPair(Asked, frozen=True, kw_only=True):
    """See `Pair.verify`; `repair`: what differs is made pending, and copied if it was DUPLEX."""

    percentage: float = 100.0
    seed: int | None = None
    digest: str = "xxh3"
    ceiling_bytes_s: int | None = None
    repair: bool = False


class Pending(Asked, frozen=True, kw_only=True):
    """`offset`: byte of the volume from which on ranges are told."""

    offset: int = 0


class PendingFiles(Asked, frozen=True, kw_only=True):
    """`partition`: the one that holds the files."""

    partition: int | None = None


class SetProtect(Asked, frozen=True, kw_only=True):
    """See `Pair.set_protect`."""

    protect: str


class Dissolve(Asked, frozen=True, kw_only=True):
    """See `Pair.dissolve`."""

    force: str | None = None
    without_peer: bool = False


class WaitFor(Asked, frozen=True, kw_only=True):
    """Statuses of a pair; `timeout_s`: how long the request may take."""

    statuses: list[str] = []
    timeout_s: float = 0.0


class WaitForMarker(Asked, frozen=True, kw_only=True):
    """Pairs, a group or both; see `StorageSystem.wait_marker`."""

    pair_ids: list[str] = []
    group: str | None = None
    until: str = "durable"
    timeout_s: float | None = None


class Annotate(Asked, frozen=True, kw_only=True):
    """`values`: null takes an annotation away."""

    values: dict[str, str | None] = {}
    label: str | None = None


class Pin(Asked, frozen=True, kw_only=True):
    """`holder`: who uses the generation, by any name but the system's own."""

    holder: str


class VerifyGeneration(Asked, frozen=True, kw_only=True):
    """See `KeptGeneration.verify`."""

    percentage: float = 100.0
    seed: int | None = None


class Digest(Asked, frozen=True, kw_only=True):
    """See `KeptGeneration.digest`."""

    again: bool = False


class Look(Asked, frozen=True, kw_only=True):
    """Where to look in a generation; `path_b64` for a name that isn't UTF-8."""

    path: str = "/"
    path_b64: str | None = None
    volume: str | None = None
    partition: int | None = None
    other: str | None = None
    offset: int = 0
    length: int | None = None


class History(Asked, frozen=True, kw_only=True):
    """A path of a volume's generations."""

    path: str = "/"
    path_b64: str | None = None
    partition: int | None = None


class SetPolicy(Asked, frozen=True, kw_only=True):
    """`retention`: the fields of `RetentionPolicy`; ages as `keep_within_s`, `forget_after_s`."""

    volume_id: str | None = None
    next_svol: str | None = None
    retention: dict[str, Any] | None = None


class Retain(Asked, frozen=True, kw_only=True):
    """Source volumes; none: all that have a policy."""

    volumes: list[str] = []
    dry_run: bool = False


class BackupAsked(Asked, frozen=True, kw_only=True):
    """See `pyrep.backup`."""

    volumes: list[str]
    primary: str | None = None
    label: str = ""
    sides: str = "secondary"
    hold_ack: str = "wait"
    reuse_last: bool = False
    hold_max_ms: float | None = None


class RestoreAsked(Asked, frozen=True, kw_only=True):
    """See `pyrep.restore`; `paths_b64` for names that aren't UTF-8."""

    generation: str
    volume: str
    paths: list[str] = []
    paths_b64: list[str] = []
    whole: bool = False
    delete_extra: bool = False
    partition: int | None = None
    discard_pending: bool = False
    dry_run: bool = False


class Abandon(Asked, frozen=True, kw_only=True):
    """See `pyrep.abandon`."""

    without_peer: bool = False


class WaitForJob(Asked, frozen=True, kw_only=True):
    """How long to wait for its end."""

    wait_s: float = 0.0
