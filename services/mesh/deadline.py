"""A deadline is a point of the monotonic clock: it is handed down, and never started anew."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a call must have been answered, in seconds of `time.monotonic()`."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds left; negative when it has passed."""
        return self.at - time.monotonic()


# gRPC reports "no deadline" as about 292 years on some paths and None on others.
LONGEST_S = 86_400.0


def from_time_remaining(seconds: float | None) -> Deadline | None:
    """Return the deadline of a call by what gRPC says of it, or None if the caller set none."""
    if seconds is None or seconds > LONGEST_S:
        return None
    return Deadline.after(seconds)
