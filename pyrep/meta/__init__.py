"""What a system knows about itself, on SQLite: table, catalogue, policies, journal."""

from pyrep.meta.catalogue import Catalogue
from pyrep.meta.copytable import CopyTable
from pyrep.meta.database import Database
from pyrep.meta.digests import DigestRecord, DigestTable
from pyrep.meta.epochs import EpochRecord, EpochTable
from pyrep.meta.journal import WorkflowJournal
from pyrep.meta.policies import PolicyRecord, PolicyTable
from pyrep.meta.system import (
    PeerRecord,
    PeerTable,
    SystemRecord,
    SystemTable,
    peek_system_id,
)
from pyrep.meta.volumes import BackingIdentity, VolumeRecord, VolumeTable

__all__ = [
    "BackingIdentity",
    "Catalogue",
    "CopyTable",
    "Database",
    "DigestRecord",
    "DigestTable",
    "EpochRecord",
    "EpochTable",
    "PeerRecord",
    "PeerTable",
    "PolicyRecord",
    "PolicyTable",
    "SystemRecord",
    "SystemTable",
    "VolumeRecord",
    "VolumeTable",
    "WorkflowJournal",
    "peek_system_id",
]
