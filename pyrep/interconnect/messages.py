"""Typed commands between two systems, and their encoding (docs/formats.md).

A command is MessagePack behind the XXH3-64 digest of it, as a frame has one: a damaged bitmap of
pending chunks would lose data silently.

Every request has one answer type, or raises in the asking system what was raised in the other.
Numbers of steps are the patent's.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import xxhash

from pyrep import errors
from pyrep.errors import DeviceError, HostAgentError, PyrepError, WireError, WorkflowError

__all__ = [
    "PROTOCOL_OLDEST",
    "PROTOCOL_VERSION",
    "AbandonPair",
    "AgePairs",
    "AgedPairs",
    "Answer",
    "BeginForward",
    "BeginReverse",
    "BindChannel",
    "Call",
    "CopyFacts",
    "CreatePair",
    "Digests",
    "Done",
    "FindData",
    "FinishPair",
    "FoundData",
    "Hello",
    "KnownPairs",
    "Message",
    "OpenStream",
    "Order",
    "PairCreated",
    "PairFacts",
    "PeerFailed",
    "Pending",
    "PendingBits",
    "ReadDigests",
    "ReadPair",
    "RemovePair",
    "Result",
    "ReverseEnd",
    "ReverseProgress",
    "ReverseReady",
    "ReverseRun",
    "SplitPair",
    "StreamAck",
    "Waits",
    "decode_answer",
    "decode_message",
    "decode_plain",
    "encode",
]

PROTOCOL_VERSION = 2
"""The newest version that is spoken here."""

PROTOCOL_OLDEST = 2
"""The oldest one: version 1 had no byte stream, it never left a process."""

T = TypeVar("T", bound=msgspec.Struct)


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The first word of each side of a new connection.

    `boot_id` changes whenever the system is opened: what it had received but not made durable is
    then lost. `system_key` is the system's own, for its life: ids are given by people, some of
    them twice. Versions and features: `pyrep.interconnect.terms`.
    """

    system_id: str
    boot_id: bytes
    version_min: int
    version_max: int
    system_key: bytes = b""
    features: list[str] = []
    required: list[str] = []


class StreamAck(msgspec.Struct, frozen=True, kw_only=True):
    """How far a stream was applied and made durable; errno per channel whose volume failed."""

    stream_id: int
    attempt: int
    received: int
    durable: int
    errors: dict[int, int] = {}


class OpenStream(msgspec.Struct, frozen=True, kw_only=True, tag="open_stream"):
    """Frames of this stream will follow, from record `next_number` on."""

    stream_id: int
    attempt: int
    next_number: int


class BindChannel(msgspec.Struct, frozen=True, kw_only=True, tag="bind_channel"):
    """Records of `channel` belong to this pair."""

    stream_id: int
    channel: int
    pair_id: str


class CreatePair(msgspec.Struct, frozen=True, kw_only=True, tag="create_pair"):
    """Make the secondary's row of a new remote pair, in COPY forward.

    `current`: the data identifier by which its content is called from now on. `waited_s`: as in
    `BeginForward`.
    """

    pair_id: str
    pvol: str
    svol: str
    size_bytes: int
    chunk_bytes: int
    group_id: str
    ack: str
    current: int
    protect: str = "require"
    waited_s: float = 0.0


class RemovePair(msgspec.Struct, frozen=True, kw_only=True, tag="remove_pair"):
    """Forget the secondary's row. Harmless when there is none."""

    pair_id: str


class ReadPair(msgspec.Struct, frozen=True, kw_only=True, tag="read_pair"):
    """Tell the secondary's row."""

    pair_id: str


class Pending(msgspec.Struct, frozen=True, kw_only=True, tag="pending"):
    """Tell the secondary's pending bitmap (550: 100a reads the bitmap of 105b).

    It is refused when a copy in this direction can't begin. `resumes`: it goes on after an
    interruption; `forced`: although the secondary's volume is inconsistent; `peek`: nothing is
    going to begin, and nothing is refused.
    """

    pair_id: str
    direction: str
    resumes: bool = False
    forced: bool = False
    peek: bool = False


class BeginForward(msgspec.Struct, frozen=True, kw_only=True, tag="begin_forward"):
    """Become the target: protect, then COPY forward; answered with what is pending then.

    `pending_count` is that of the union so far; while it is 0 the target stays consistent. Its
    content is called `current` from now on, if it was called `seen` before (0: whatever its name
    is) and hosts haven't begun to write to it since it was looked at; `written`: they had by then,
    or what they have written is given up by name. `base` is by what it was matched. `protect`:
    whether its DUPLEX local mirrors are split first. `repairs`: it was found to differ where
    nothing is said to, and so may these mirrors. `waited_s`: for how long it has been asked already
    and answered with `waits`.
    """

    pair_id: str
    pending_count: int
    current: int
    base: int
    seen: int
    written: bool = False
    protect: str = "require"
    repairs: bool = False
    waited_s: float = 0.0


class FinishPair(msgspec.Struct, frozen=True, kw_only=True, tag="finish_pair"):
    """Both sides are equal and durable: DUPLEX, forward, nothing pending.

    `consistent`: whether what was copied was; a caller may have forced it. `current`: the data
    identifier of what both hold.
    """

    pair_id: str
    current: int
    consistent: bool = True


class SplitPair(msgspec.Struct, frozen=True, kw_only=True, tag="split_pair"):
    """Everything before the split was applied: SPLIT with this cause, and mark from now on."""

    pair_id: str
    cause: str


class BeginReverse(msgspec.Struct, frozen=True, kw_only=True, tag="begin_reverse"):
    """Hold the union with these bits, durably, and become the source of a reverse copy.

    `common`: the data identifier by which the target's content is called from now on; `seen`: how
    the source's was called when that was decided.
    """

    pair_id: str
    pending: bytes
    common: int
    seen: int
    resumes: bool = False
    forced: bool = False


class ReverseReady(msgspec.Struct, frozen=True, kw_only=True, tag="reverse_ready"):
    """The stream and channel in which the reverse copy will come, and its source's identifier."""

    stream_id: int
    attempt: int
    next_number: int
    channel: int
    current: int


class ReverseRun(msgspec.Struct, frozen=True, kw_only=True, tag="reverse_run"):
    """The target is ready: copy (550, 670), within these bounds (0: none was set).

    `digest`: the kind of digests to compare by first; empty: everything pending is sent. `sparing`:
    what isn't worth a look is passed over.
    """

    pair_id: str
    ceiling_bytes_s: int = 0
    floor_bytes_s: int = 0
    digest: str = ""
    sparing: bool = False


class ReadDigests(msgspec.Struct, frozen=True, kw_only=True, tag="read_digests"):
    """Read runs of chunks of your volume of this pair, and tell their digests.

    `runs`: the first chunk of each, ascending, then the count of each. A digest is over what was
    read of one group of `group_bytes` (a power of two, from a chunk to 1 MiB). `flush`: make the
    volume durable first.
    """

    pair_id: str
    kind: str
    group_bytes: int
    runs: bytes
    flush: bool = False


class FindData(msgspec.Struct, frozen=True, kw_only=True, tag="find_data"):
    """Tell which of these chunks of your volume of this pair aren't wholly holes."""

    pair_id: str
    first: int
    count: int


class ReverseProgress(msgspec.Struct, frozen=True, kw_only=True, tag="reverse_progress"):
    """Wait a moment for the reverse copy, and tell how far it is; how it is to go on."""

    pair_id: str
    cancel: bool = False
    paused: bool = False
    ceiling_bytes_s: int = 0
    floor_bytes_s: int = 0


class ReverseEnd(msgspec.Struct, frozen=True, kw_only=True, tag="reverse_end"):
    """The reverse copy is settled: become the target again, DUPLEX forward."""

    pair_id: str


class AbandonPair(msgspec.Struct, frozen=True, kw_only=True, tag="abandon_pair"):
    """Stop copying out of this side; its row keeps status and bits, nothing more is sent."""

    pair_id: str


class KnownPairs(msgspec.Struct, frozen=True, kw_only=True, tag="known_pairs"):
    """All pairs whose primary this system is: forget others, of which only you know."""

    pair_ids: list[str]


class AgePairs(msgspec.Struct, frozen=True, kw_only=True, tag="age_pairs"):
    """Let the data identifiers by which these pairs' bits count be so old, durably.

    One of each list is for one pair: its id, the identifier that both sides' bits count from, and
    the age. Only where it is called so, in COPY or DUPLEX, and as old or younger by two at most.
    """

    pair_ids: list[str]
    points: list[int]
    ages: list[int]


class Call(msgspec.Struct, frozen=True, kw_only=True, tag="call"):
    """A workflow's own command; `verb` is registered by the layer above."""

    verb: str
    body: dict[str, Any]


Order = (
    OpenStream
    | BindChannel
    | RemovePair
    | KnownPairs
    | FinishPair
    | SplitPair
    | ReverseRun
    | ReverseEnd
    | AbandonPair
)
"""What is answered by `Done`."""

Message = (
    Order
    | CreatePair
    | ReadPair
    | Pending
    | BeginForward
    | BeginReverse
    | ReverseProgress
    | ReadDigests
    | FindData
    | AgePairs
    | Call
)


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """Nothing to tell."""


class PairCreated(msgspec.Struct, frozen=True, kw_only=True, tag="pair_created"):
    """Whether the new pair's SVOL is without data: zeros needn't be sent then."""

    blank: bool


class PairFacts(msgspec.Struct, frozen=True, kw_only=True, tag="pair_facts"):
    """The facts of a row, its count of pending chunks, and its data identifiers."""

    status: str
    cause: str | None
    direction: str
    target_consistent: bool
    pending_count: int
    current: int = 0
    common: int = 0
    written: bool = False
    history: list[int] = []
    age: int = 0
    repaired: bool = False


class PendingBits(msgspec.Struct, frozen=True, kw_only=True, tag="pending_bits"):
    """A pending bitmap as a portable Roaring bitmap.

    `overmarked`: more may be pending than differs.
    """

    bits: bytes
    overmarked: bool = False


class Waits(msgspec.Struct, frozen=True, kw_only=True, tag="waits"):
    """Nothing was done yet: the copy of this local pair stands against it. Ask again.

    How far that copy is, in bytes, is told with it.
    """

    pair_id: str
    done_bytes: int
    total_bytes: int


class Digests(msgspec.Struct, frozen=True, kw_only=True, tag="digests"):
    """The digests that were asked for, one behind the other."""

    values: bytes


class FoundData(msgspec.Struct, frozen=True, kw_only=True, tag="found_data"):
    """Runs of chunks that hold data, as in `ReadDigests`, and the chunk they are told up to."""

    runs: bytes
    past: int


class AgedPairs(msgspec.Struct, frozen=True, kw_only=True, tag="aged_pairs"):
    """The pairs whose data identifiers are as old as `AgePairs` says; others were left alone."""

    pair_ids: list[str]


class CopyFacts(msgspec.Struct, frozen=True, kw_only=True, tag="copy_facts"):
    """How far a copy is, in bytes."""

    done: bool
    done_bytes: int
    total_bytes: int
    compared_bytes: int = 0
    sent_bytes: int = 0


class Result(msgspec.Struct, frozen=True, kw_only=True, tag="result"):
    """What a `Call` answers."""

    body: dict[str, Any]


class PeerFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """What the other system raised."""

    kind: str
    message: str
    hint: str | None
    step: int | None = None
    action: str | None = None
    errno_code: int | None = None

    @classmethod
    def of(cls, error: PyrepError) -> PeerFailed:
        """Return what to send of an error: a workflow's step, a host's action, an errno with it."""
        return cls(
            kind=type(error).__name__,
            message=str(error),
            hint=error.hint,
            step=error.step if isinstance(error, WorkflowError) else None,
            action=error.step if isinstance(error, HostAgentError) else None,
            errno_code=error.errno_code if isinstance(error, DeviceError) else None,
        )

    def to_error(self) -> PyrepError:
        """Return the error to raise here."""
        kind = getattr(errors, self.kind, None) if self.kind in errors.__all__ else None
        if not (isinstance(kind, type) and issubclass(kind, PyrepError)):
            return PyrepError(self.message, hint=self.hint)
        error: PyrepError = kind(self.message, hint=self.hint)
        if isinstance(error, WorkflowError):
            error.step = self.step
        elif isinstance(error, HostAgentError):
            error.step = self.action
        elif isinstance(error, DeviceError) and self.errno_code is not None:
            error.errno_code = self.errno_code
        return error


Answer = (
    Done
    | PairCreated
    | PairFacts
    | PendingBits
    | Waits
    | CopyFacts
    | ReverseReady
    | Digests
    | FoundData
    | AgedPairs
    | Result
    | PeerFailed
)

_messages: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)

_DIGEST_BYTES = 8

_MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError)
"""What msgspec raises; the latter for text that isn't UTF-8."""


def encode(message: msgspec.Struct) -> bytes:
    """Return the bytes of a message, answer, hello or acknowledgement."""
    body = msgspec.msgpack.encode(message)
    return _digest(body) + body


def _digest(body: bytes) -> bytes:
    return xxhash.xxh3_64_intdigest(body).to_bytes(_DIGEST_BYTES, "little")


def _body(data: bytes) -> bytes:
    body = data[_DIGEST_BYTES:]
    if data[:_DIGEST_BYTES] != _digest(body):
        raise WireError(f"cannot take a command of {len(data)} bytes: its digest doesn't match")
    return body


def decode_message(data: bytes) -> Message:
    """Return the message. WireError: malformed or unknown."""
    try:
        return _messages.decode(_body(data))
    except _MALFORMED as error:
        raise WireError(f"cannot take a command of {len(data)} bytes: {error}") from error


def decode_answer(data: bytes) -> Answer:
    """Return the answer. WireError: malformed or unknown."""
    try:
        return _answers.decode(_body(data))
    except _MALFORMED as error:
        raise WireError(f"cannot take an answer of {len(data)} bytes: {error}") from error


def decode_plain(data: bytes, kind: type[T]) -> T:
    """Return a hello or an acknowledgement. WireError: malformed."""
    try:
        return msgspec.msgpack.decode(_body(data), type=kind)
    except _MALFORMED as error:
        raise WireError(f"cannot take a {kind.__name__}: {error}") from error
