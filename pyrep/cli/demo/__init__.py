"""`pyrep demo`: the main job, done and proved on two systems in a directory."""

from pyrep.cli.demo.command import demo
from pyrep.cli.demo.outcome import Outcome
from pyrep.cli.demo.scale import Scale
from pyrep.cli.demo.scenario import run_demo
from pyrep.cli.demo.tools import Tools
from pyrep.cli.demo.watcher import Watcher

__all__ = ["Outcome", "Scale", "Tools", "Watcher", "demo", "run_demo"]
