"""A storage system as a process."""

from pyrep.daemon.serving import Serving, serve

__all__ = ["Serving", "serve"]
