"""The HTTP API of a storage system: its server, and its client."""

from pyrep.api.client import SOCKET_NAME, Client, Json
from pyrep.api.connection import ApiConnections, Query, socket_address
from pyrep.api.failures import failure_from, failure_to
from pyrep.api.jobs import Job, JobState
from pyrep.api.jobtable import JobTable
from pyrep.api.reports import backup_report_from, generation_from_json, restore_report_from
from pyrep.api.routes import Site
from pyrep.api.server import ApiServer
from pyrep.api.volume_io import open_volume

__all__ = [
    "SOCKET_NAME",
    "ApiConnections",
    "ApiServer",
    "Client",
    "Job",
    "JobState",
    "JobTable",
    "Json",
    "Query",
    "Site",
    "backup_report_from",
    "failure_from",
    "failure_to",
    "generation_from_json",
    "open_volume",
    "restore_report_from",
    "socket_address",
]
