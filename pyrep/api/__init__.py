"""The HTTP API of a storage system: what both ends of it share, and its client."""

from pyrep.api.client import SOCKET_NAME, Client, Json
from pyrep.api.connection import ApiConnections, Query, socket_address
from pyrep.api.failures import failure_from, failure_to
from pyrep.api.jobs import Job, JobState
from pyrep.api.volume_io import open_volume

__all__ = [
    "SOCKET_NAME",
    "ApiConnections",
    "Client",
    "Job",
    "JobState",
    "Json",
    "Query",
    "failure_from",
    "failure_to",
    "open_volume",
    "socket_address",
]
