"""The limit against simulated services, in virtual time: what comes in batches, in order, or side by side."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mesh.admission.limit import TOLERANCE, AdaptiveLimit

MOST = 512


@dataclass
class Simulated:
    """A service that answers in batches, one at a time: `fixed` seconds each, and `each` a call. Both may change.

    `rate` is of calls by chance, which do not come back; `callers` call again as soon as they are answered, or a
    millisecond after they were refused.
    """

    rate: float = 0.0
    callers: int = 0
    fixed: float = 2.5e-3
    each: float = 200e-6
    largest: int = 256
    seed: int = 1
    now: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        self.limit = AdaptiveLimit(MOST, clock=lambda: self.now)
        self._random = random.Random(self.seed)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._waiting: deque[tuple[float, bool]] = deque()
        self._under_way: list[tuple[float, bool]] = []
        self._arriving = False
        for _ in range(self.callers):
            self._at(0.0, self._call, True)

    @property
    def in_flight(self) -> int:
        """Calls that were let in and not answered yet."""
        return len(self._waiting) + len(self._under_way)

    def run(self, seconds: float) -> None:
        """Go on for so long; `latencies` and `refused` are of this time."""
        self.latencies, self.refused = [], 0
        if self.rate and not self._arriving:
            self._arriving = True
            self._at(self.now, self._arrive)
        end = self.now + seconds
        while self._events and self._events[0][0] < end:
            self.now, _, event, arguments = heapq.heappop(self._events)
            event(*arguments)
        self.now = end

    def per_second(self, seconds: float) -> float:
        """Go on for so long and return the answers a second."""
        self.run(seconds)
        return len(self.latencies) / seconds

    def mean(self) -> float:
        """Return the mean latency of the last run."""
        return sum(self.latencies) / len(self.latencies)

    def _at(self, when: float, event: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), event, arguments))

    def _arrive(self) -> None:
        if not self.rate:
            self._arriving = False
            return
        self._call(False)
        self._at(self.now + self._random.expovariate(self.rate), self._arrive)

    def _call(self, again: bool) -> None:
        if self.in_flight >= self.limit.value:
            self.refused += 1
            self.limit.refused()
            if again:
                self._at(self.now + 1e-3, self._call, True)
            return
        self._waiting.append((self.now, again))
        self._depart()

    def _depart(self) -> None:
        if self._under_way or not self._waiting:
            return
        self._under_way = [self._waiting.popleft() for _ in range(min(self.largest, len(self._waiting)))]
        takes = self.fixed + self.each * len(self._under_way)
        self._at(self.now + takes * self._random.lognormvariate(0, 0.15), self._arrived)

    def _arrived(self) -> None:
        batch, self._under_way = self._under_way, []
        for start, again in batch:
            self.latencies.append(self.now - start)
            self.limit.answered(self.now - start)
            if again:
                self._call(True)
        self._depart()


@pytest.mark.parametrize("callers", [1, 32, 64, 256, MOST])
def test_callers_who_wait_for_their_answers_are_never_refused(callers: int) -> None:
    """As many as the limit at rest may ask at once, and again when they are answered, however slow they make it."""
    service = Simulated(callers=callers)
    service.run(5)
    assert (service.refused, service.limit.value) == (0, MOST)


def test_overload_hardly_slows_those_who_are_let_in() -> None:
    """At three times what can be answered, calls soon take little longer than usual, and nearly as many as can be are answered."""
    service = Simulated(rate=3_000)
    service.run(5)
    usual = service.mean()
    service.rate = 13_500
    service.run(1)
    answered = service.per_second(10)
    assert answered > 3_500
    assert service.mean() < 1.2 * TOLERANCE * usual
    assert service.refused > 0


def test_it_follows_a_service_that_loses_half_of_its_capacity() -> None:
    """Latency stays, and with half the answers a second that is half as many calls under way."""
    service = Simulated(rate=13_500)
    service.run(5)
    before, latency = service.limit.value, service.mean()
    service.each *= 2
    service.run(2)
    service.run(5)
    assert service.limit.value < 0.75 * before
    assert service.mean() < 2 * latency


def test_it_follows_a_service_that_becomes_twice_as_fast() -> None:
    """What is gained is used within a few seconds."""
    service = Simulated(rate=20_000, each=400e-6)
    before = service.per_second(5)
    service.each /= 2
    service.run(3)
    assert service.per_second(5) > 1.5 * before


def test_what_is_slow_by_itself_is_not_throttled_for_it() -> None:
    """Where waiting is not what takes the time, fewer calls are not faster, and the limit rises until more are no gain."""
    service = Simulated(rate=100)
    service.run(3)
    service.rate, service.fixed = 13_500, 25e-3
    service.run(20)
    assert service.per_second(5) > 1_200


def test_a_quiet_start_says_little_of_a_busy_service() -> None:
    """Calls alone take a tenth of what they take in good batches; a limit by that alone would keep batches small."""
    service = Simulated(rate=100)
    service.run(5)
    service.rate = 13_500
    service.run(10)
    assert service.per_second(5) > 3_000


def test_it_is_out_of_the_way_soon_after_overload() -> None:
    """When nobody is refused any more the limit goes back to rest within two seconds."""
    service = Simulated(rate=13_500)
    service.run(5)
    assert service.limit.value < MOST / 2
    service.rate = 2_000
    service.run(2)
    assert service.limit.value == MOST


def test_a_service_without_answers_does_not_move_it() -> None:
    """Nothing is learnt from calls that hang."""
    limit = AdaptiveLimit(10, clock=lambda: 0.0)
    limit.refused()
    assert limit.value == 10


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    fixed=st.floats(0.5e-3, 20e-3),
    each=st.floats(200e-6, 2e-3),
    overload=st.floats(1.5, 5),
)
def test_any_overload_is_bounded(seed: int, fixed: float, each: float, overload: float) -> None:
    """Whatever the service, the limit stays in its bounds, and half of what can be answered at all is answered."""
    service = Simulated(rate=overload / each, fixed=fixed, each=each, largest=MOST, seed=seed)
    service.run(10)
    answered = service.per_second(5)
    assert 16 <= service.limit.value <= MOST
    assert service.in_flight <= MOST
    assert answered > 0.5 / (each + fixed / (MOST / 2))
