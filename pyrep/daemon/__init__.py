"""A storage system as a process."""

from pyrep.daemon.config import CONFIG_NAME, Config, read_config
from pyrep.daemon.logs import set_up_log
from pyrep.daemon.rereading import Rereading
from pyrep.daemon.serving import Serving, serve

__all__ = [
    "CONFIG_NAME",
    "Config",
    "Rereading",
    "Serving",
    "read_config",
    "serve",
    "set_up_log",
]
