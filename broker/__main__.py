"""``python -m broker``: the same as the ``gatebus`` command."""

from .cli import main

main()
