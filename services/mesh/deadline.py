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


# What it takes to tell a caller that his time is over: a share of what is left of it, within bounds.
_TELL, _LEAST_TELL_S, _MOST_TELL_S = 0.02, 0.002, 0.025


def still_heard(deadline: Deadline) -> Deadline:
    """Return until when a caller may be kept waiting so that he still hears why there is no answer."""
    left_s = deadline.remaining()
    return Deadline(deadline.at - min(max(_LEAST_TELL_S, _TELL * left_s), _MOST_TELL_S, 0.5 * abs(left_s)))


# What stays of the time that is left for the answer itself, when what it is waited for does not come: a share, within bounds.
_ANSWER, _LEAST_ANSWER_S, _MOST_ANSWER_S = 0.1, 0.003, 0.1


def giving_up_in_s(left_s: float) -> float:
    """Say how many of the seconds that are left may be waited, so that the caller can still be answered without."""
    return left_s - min(max(_LEAST_ANSWER_S, _ANSWER * left_s), _MOST_ANSWER_S, 0.5 * abs(left_s))
