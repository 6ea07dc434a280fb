"""How long the store is waited for."""

from __future__ import annotations

from services.mesh.context import current
from services.mesh.deadline import giving_up_in_s


def limit_s(timeout_s: float) -> float:
    """Return the seconds to wait: `timeout_s`, or less where the deadline of the running call comes sooner."""
    running = current()
    if running is None or running.deadline is None:
        return timeout_s
    return min(timeout_s, giving_up_in_s(running.deadline.remaining()))
