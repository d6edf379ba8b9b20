"""The engine: storage systems, mirrors and the copies between them. Threads and blocking calls."""

from pyrep.engine.activityinfo import ActivityInfo
from pyrep.engine.cancel import Cancel, Progress, ProgressCallback
from pyrep.engine.checkup import (
    CheckReport,
    Finding,
    RepairReport,
    Severity,
    check_system,
    repair_system,
)
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.kept import KeptGeneration
from pyrep.engine.marker import MarkerOutcome
from pyrep.engine.options import BadBitmap, ChangedBacking, Digests, Options
from pyrep.engine.pair import Pair
from pyrep.engine.pairstate import Lag, PairState
from pyrep.engine.pairverify_result import PairVerifyResult
from pyrep.engine.remote_meeting import Will
from pyrep.engine.resync_estimate import ResyncEstimate
from pyrep.engine.retain import RetentionReport
from pyrep.engine.system import StorageSystem, connect
from pyrep.engine.verify import DamagedExtent, VerifyResult
from pyrep.engine.volume import Volume

__all__ = [
    "ActivityInfo",
    "BadBitmap",
    "Cancel",
    "ChangedBacking",
    "CheckReport",
    "CopyJob",
    "DamagedExtent",
    "Digests",
    "Finding",
    "KeptGeneration",
    "Lag",
    "MarkerOutcome",
    "Options",
    "Pair",
    "PairState",
    "PairVerifyResult",
    "Progress",
    "ProgressCallback",
    "RepairReport",
    "ResyncEstimate",
    "RetentionReport",
    "Severity",
    "StorageSystem",
    "VerifyResult",
    "Volume",
    "Will",
    "check_system",
    "connect",
    "repair_system",
]
