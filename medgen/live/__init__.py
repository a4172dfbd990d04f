"""A run in training as a page on this machine: curves, pictures by the newest weights, and the time left."""

from medgen.live.serving import watch_run

__all__ = ["watch_run"]
