"""The command line. It holds no rule of its own: commands call the embedding API."""

from pyrep.cli.program import main

__all__ = ["main"]
