"""The compiled core, wrapped: the only package that touches cffi and its pointers."""

from pyrep._core.alog import (
    Alog,
    AlogInfo,
    AlogShape,
    AlogState,
)
from pyrep._core.apply import (
    Apply,
    ApplyInfo,
)
from pyrep._core.bitmap import (
    Bitmap,
)
from pyrep._core.bitmapfile import (
    BitmapFile,
    BitmapKey,
    crc32c,
)
from pyrep._core.called_io import CalledIo, Storage
from pyrep._core.compare import Comparer, Runs, read_runs
from pyrep._core.copier import (
    Copier,
    CopyProgress,
)
from pyrep._core.cut import (
    CutItem,
    CutVerb,
    group_cut,
)
from pyrep._core.frame import (
    FRAME_BYTES,
    FRAME_DIGEST_FROM,
    FRAME_DIGEST_OFFSET,
    FrameInfo,
    check_frame,
    crc32c_lanes,
    is_sealed,
    seal_frame,
)
from pyrep._core.io import (
    DeviceIdentity,
    DeviceIo,
    FileIdentity,
    FileIo,
    Io,
    MemoryIo,
    OverlayIo,
    SliceIo,
    VolatileIo,
)
from pyrep._core.journal import (
    JournalRefusal,
    JournalReport,
    replay_journal,
)
from pyrep._core.line import (
    Line,
)
from pyrep._core.link import (
    LinkCore,
    LinkInfo,
    LinkMode,
)
from pyrep._core.native import (
    SLICE_NS,
    SLICE_S,
    Buffer,
)
from pyrep._core.pump import (
    Left,
    Numbers,
    Pump,
    decode_numbers,
    encode_numbers,
)
from pyrep._core.stream import (
    Ack,
    Stream,
    StreamInfo,
    new_frame_buffer,
)
from pyrep._core.tls import TlsConfig, TlsProblem, TlsSession
from pyrep._core.tree import (
    Tree,
)
from pyrep._core.volume import (
    Fence,
    VolumeCore,
    VolumeIo,
    move_volumes,
    pwrite_at_once,
    pwrite_begin,
    scratch,
)
from pyrep._core.wake import (
    Wake,
)

__all__ = [
    "FRAME_BYTES",
    "FRAME_DIGEST_FROM",
    "FRAME_DIGEST_OFFSET",
    "SLICE_NS",
    "SLICE_S",
    "Ack",
    "Alog",
    "AlogInfo",
    "AlogShape",
    "AlogState",
    "Apply",
    "ApplyInfo",
    "Bitmap",
    "BitmapFile",
    "BitmapKey",
    "Buffer",
    "CalledIo",
    "Comparer",
    "Copier",
    "CopyProgress",
    "CutItem",
    "CutVerb",
    "DeviceIdentity",
    "DeviceIo",
    "Fence",
    "FileIdentity",
    "FileIo",
    "FrameInfo",
    "Io",
    "JournalRefusal",
    "JournalReport",
    "Left",
    "Line",
    "LinkCore",
    "LinkInfo",
    "LinkMode",
    "MemoryIo",
    "Numbers",
    "OverlayIo",
    "Pump",
    "Runs",
    "SliceIo",
    "Storage",
    "Stream",
    "StreamInfo",
    "TlsConfig",
    "TlsProblem",
    "TlsSession",
    "Tree",
    "VolatileIo",
    "VolumeCore",
    "VolumeIo",
    "Wake",
    "check_frame",
    "crc32c",
    "crc32c_lanes",
    "decode_numbers",
    "encode_numbers",
    "group_cut",
    "is_sealed",
    "move_volumes",
    "new_frame_buffer",
    "pwrite_at_once",
    "pwrite_begin",
    "read_runs",
    "replay_journal",
    "scratch",
    "seal_frame",
]
