"""Doubles and checkers for embedders' tests.

Storage that loses power, paths that are lost and stall, a TCP proxy with faults, the reference
model, and a checker for each invariant.
"""

from pyrep.testing.changes import check_changes
from pyrep.testing.clock import SimulatedClock
from pyrep.testing.content import Content, HostWrite, in_some_order
from pyrep.testing.devices import MemoryIo, OverlayIo, PowerLoss, VolatileIo, VolatileStorage
from pyrep.testing.follows import Asked, Events, Facts, reachable
from pyrep.testing.invariants import (
    InvariantError,
    check_covered,
    check_duplex,
    check_durable_first,
    check_frozen,
    check_no_early_clear,
    check_one_point,
    check_one_writer,
    check_remote_stays,
)
from pyrep.testing.paths import LoopPath, lost, stalled
from pyrep.testing.proxied import Way
from pyrep.testing.proxy import FaultProxy
from pyrep.testing.quiet import wait_quiet, wait_until
from pyrep.testing.reference import (
    KeptSystem,
    ModelError,
    Observed,
    Reference,
    ReferencePair,
    VolumeName,
)
from pyrep.testing.simulated import SimulatedPath, connect_simulated
from pyrep.testing.simulated_lane import Kind

__all__ = [
    "Asked",
    "Content",
    "Events",
    "Facts",
    "FaultProxy",
    "HostWrite",
    "InvariantError",
    "KeptSystem",
    "Kind",
    "LoopPath",
    "MemoryIo",
    "ModelError",
    "Observed",
    "OverlayIo",
    "PowerLoss",
    "Reference",
    "ReferencePair",
    "SimulatedClock",
    "SimulatedPath",
    "VolatileIo",
    "VolatileStorage",
    "VolumeName",
    "Way",
    "check_changes",
    "check_covered",
    "check_duplex",
    "check_durable_first",
    "check_frozen",
    "check_no_early_clear",
    "check_one_point",
    "check_one_writer",
    "check_remote_stays",
    "connect_simulated",
    "in_some_order",
    "lost",
    "reachable",
    "stalled",
    "wait_quiet",
    "wait_until",
]
