"""``gatebus demo``: gates, a bus and a pool at work between real processes, on real image files."""

from .run import run_demo

__all__ = ["run_demo"]
