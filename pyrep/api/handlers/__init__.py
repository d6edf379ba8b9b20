"""What the API does for each request; importing it makes the routes known."""

from pyrep.api.handlers import generations, pairs, system, volumes, workflows

__all__ = ["generations", "pairs", "system", "volumes", "workflows"]
