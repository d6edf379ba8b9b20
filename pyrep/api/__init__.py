"""The HTTP API of a storage system: what both ends of it share, and its client."""

from pyrep.api.connection import ApiConnections, Query, socket_address
from pyrep.api.failures import failure_from, failure_to

__all__ = ["ApiConnections", "Query", "failure_from", "failure_to", "socket_address"]
