"""What a system knows about itself, on SQLite: copy management table, catalogue, journal."""

from pyrep.meta.catalogue import Catalogue
from pyrep.meta.copytable import CopyTable
from pyrep.meta.database import Database
from pyrep.meta.epochs import EpochRecord, EpochTable
from pyrep.meta.journal import WorkflowJournal
from pyrep.meta.system import PeerRecord, PeerTable, SystemRecord, SystemTable
from pyrep.meta.volumes import BackingIdentity, VolumeRecord, VolumeTable

__all__ = [
    "BackingIdentity",
    "Catalogue",
    "CopyTable",
    "Database",
    "EpochRecord",
    "EpochTable",
    "PeerRecord",
    "PeerTable",
    "SystemRecord",
    "SystemTable",
    "VolumeRecord",
    "VolumeTable",
    "WorkflowJournal",
]
