"""The engine: storage systems, mirrors and the copies between them. Threads and blocking calls."""

from pyrep.engine.cancel import Cancel, Progress, ProgressCallback
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.kept import KeptGeneration
from pyrep.engine.options import BadBitmap, ChangedBacking, Digests, Options
from pyrep.engine.pair import Pair, PairState
from pyrep.engine.retain import RetentionReport
from pyrep.engine.system import StorageSystem, connect
from pyrep.engine.verify import DamagedExtent, VerifyResult
from pyrep.engine.volume import Volume

__all__ = [
    "BadBitmap",
    "Cancel",
    "ChangedBacking",
    "CopyJob",
    "DamagedExtent",
    "Digests",
    "KeptGeneration",
    "Options",
    "Pair",
    "PairState",
    "Progress",
    "ProgressCallback",
    "RetentionReport",
    "StorageSystem",
    "VerifyResult",
    "Volume",
    "connect",
]
