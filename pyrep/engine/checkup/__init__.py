"""Check and repair of a system that isn't open."""

from pyrep.engine.checkup.check import check_system
from pyrep.engine.checkup.finding import CheckReport, Finding, Remedy, Severity
from pyrep.engine.checkup.repair import RepairReport, repair_system

__all__ = [
    "CheckReport",
    "Finding",
    "Remedy",
    "RepairReport",
    "Severity",
    "check_system",
    "repair_system",
]
