"""``gatebus demo``: gates, a bus and a pool at work between real processes, on real image files.

``run.py`` has the steps; ``workflow.py`` is what the two processes in place of ComfyUI run.
"""
