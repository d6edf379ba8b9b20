"""The path between systems: frames of ordered streams, and typed commands."""

from pyrep.interconnect.channel import Channel, Plain, Security
from pyrep.interconnect.dialer import PathState, TcpPath
from pyrep.interconnect.frames import check_digest, seal
from pyrep.interconnect.listener import Listener
from pyrep.interconnect.loop import LoopPath
from pyrep.interconnect.timing import PathTiming
from pyrep.interconnect.tls import Tls

__all__ = [
    "Channel",
    "Listener",
    "LoopPath",
    "PathState",
    "PathTiming",
    "Plain",
    "Security",
    "TcpPath",
    "Tls",
    "check_digest",
    "seal",
]
