"""Agents for what runs on the hosts of Fig. 1: applications and mounts."""

from pyrep.host.command import CommandHostAgent
from pyrep.host.none import NoHostAgent

__all__ = ["CommandHostAgent", "NoHostAgent"]
