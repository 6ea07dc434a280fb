"""What callers saw and when the fault was: the records that a verdict is made of."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.worlds.failures import Failure


class Ending(enum.StrEnum):
    """How a call ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    LEFT = "left"
    """The caller cancelled it."""


@dataclass(frozen=True)
class Call:
    """One call. Times in seconds of the monotonic clock; `wrong` says why its answer cannot be, or is empty."""

    method: str
    started: float
    ended: float
    ending: Ending
    failure: Failure | None = None
    wrong: str = ""
    degradations: frozenset[str] = frozenset()
    urgent: bool = False


@dataclass
class History:
    """All calls of a trial in the order of their ends, what was lost, and the time of the fault."""

    calls: list[Call] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Writes that were acknowledged and are not there any more."""
    acknowledged: int = 0
    """Writes that were acknowledged."""
    struck_at: float = 0
    ended_at: float = 0

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Note the time of the fault, from the entry of the context to its exit."""
        self.struck_at = time.monotonic()
        yield
        self.ended_at = time.monotonic()

    def begin(self) -> None:
        """Forget the calls so far, but for those whose answers were wrong: no trial is over such an answer."""
        self.calls = [call for call in self.calls if call.wrong]

    def note(self, call: Call) -> None:
        """Keep a call that has ended."""
        self.calls.append(call)
