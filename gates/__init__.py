"""Gates, buses and pools: the state that a human-in-the-loop workflow shares.

Imports as the top-level package ``gates`` (installed, tests, broker) and as a subpackage of
a folder of any name (ComfyUI): relative imports only, and never anything of ``broker``.
"""

__version__ = "0.1.0"
