"""What a decision says of how a gate passes on what it holds."""

from __future__ import annotations

from ..errors import InvalidInput
from ..gate.record import Decision

AT_TIMEOUT = ("stop", "pass")
"""What a gate of one route may do at its deadline: end the prompt, or let all pass as it came."""


def check_at_timeout(at_timeout: str) -> int:
    """The route at the deadline, 0 for none; raises InvalidInput."""
    if at_timeout not in AT_TIMEOUT:
        raise InvalidInput(f"at_timeout must be {' or '.join(AT_TIMEOUT)}")
    return AT_TIMEOUT.index(at_timeout)


def chosen_of(decision: Decision, batch: int) -> list[int]:
    """The indexes of the images of a batch that go on, ascending: those that were chosen, else all."""
    return [int(index) for index in decision.chosen.split(",")] if decision.chosen else list(range(batch))
