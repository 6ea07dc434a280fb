"""Which rows leave next, where to, and how many together: decisions alone, and their outcome in virtual time."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mesh.errors import MeshError
from services.model.batcher import Batcher
from services.model.calls import InferCall
from services.model.datatypes import Array
from services.model.queue import DeadlineQueue
from services.model.schedule import Limits, Refuse, Schedule, Send, Unserved, Wait
from services.model.station import Station
from services.model.tickets import Ticket
from tests.support.gated_model import GatedModel
from tests.support.stations import SIGNATURE, batcher, station
from tests.support.virtual_time import run_virtually

FIXED_S, ROW_S = 0.001, 0.00001
LIMITS = Limits(batch_rows=200, rows_in_flight=100_000)
# What nine tenths of the throughput of 200 rows take: .9 * 200 * 1000 / (1000 + .1 * 10 * 200).
EFFICIENT = 150


@pytest.fixture(autouse=True)
def _stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions are taken at one moment, however slow the machine; replays bring a clock of their own."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)


def _learnt(target: Station, fixed_s: float = FIXED_S, row_s: float = ROW_S) -> Station:
    """Let a station know exactly what its batches cost."""
    for _ in range(16):
        for rows in (1, 200):
            target.cost.learn(rows, fixed_s + row_s * rows)
    target._learnt_at = time.monotonic()
    return target


def _behind(ahead: int = 1) -> Station:
    """A station with a place behind the batch that is computed."""
    model = GatedModel()
    model.ahead = ahead
    return _learnt(station(model, "triton"))


def _schedule(*calls: tuple[int, float]) -> Schedule:
    """Make a schedule of waiting calls, each of so many rows that are due in so many seconds, the way back not counted."""
    queue = DeadlineQueue()
    schedule = Schedule(queue, LIMITS)
    for rows, left_s in calls:
        queue.push(_ticket(rows, left_s))
    return schedule


def _ticket(rows: int, left_s: float) -> Ticket:
    # The way back is a fifth, up to 10 ms.
    brought_s = left_s + 0.01 if left_s > 0.04 else left_s / 0.8
    call = InferCall({"x": np.zeros(rows, np.float32)}, rows, time.monotonic() + brought_s)
    return Ticket(call, SIGNATURE, None)


async def test_all_that_waits_leaves_for_an_idle_runtime() -> None:
    """With time enough, nothing waits for company."""
    only = _behind()
    decision = _schedule((3, 60), (4, 60)).next([only], time.monotonic())
    assert isinstance(decision, Send)
    assert (only, math.inf) == (decision.station, decision.until)
    assert decision.most >= 7


async def test_an_efficient_batch_may_stand_behind_another() -> None:
    """While a batch is computed the next one is sent just before it ends, so that the runtime need not wait."""
    only = _behind()
    only.enter(200)
    now = time.monotonic()
    early = _schedule((EFFICIENT + 1, 60)).next([only], now)
    assert isinstance(early, Wait)
    # 3 ms are left of it, and to send one takes 1 ms.
    assert early.seconds == pytest.approx(0.002, abs=0.0005)
    assert isinstance(_schedule((EFFICIENT + 1, 60)).next([only], now + 0.0025), Send)


async def test_a_small_batch_does_not_stand_behind_another() -> None:
    """Few rows wait for the end of the batch that is computed: until then more will share the cost of theirs."""
    only = _behind()
    only.enter(200)
    assert Wait(math.inf) == _schedule((EFFICIENT - 1, 60)).next([only], time.monotonic() + 0.0025)
    assert _schedule().at_once(_ticket(1, 60).call, [only], time.monotonic() + 0.0025) is None


async def test_no_more_batches_stand_behind_than_the_runtime_takes() -> None:
    """However much waits."""
    only = _behind(ahead=1)
    only.enter(200)
    only.enter(200)
    assert Wait(math.inf) == _schedule((1000, 60)).next([only], time.monotonic())


async def test_a_batch_is_as_large_as_its_most_urgent_row_allows() -> None:
    """Two milliseconds are the fixed cost and not quite 100 rows."""
    decision = _schedule((1, 0.002), (140, 60)).next([_behind()], time.monotonic())
    assert isinstance(decision, Send)
    assert decision.most == pytest.approx(95, abs=10)


async def test_batches_stay_short_for_calls_that_bring_little_time() -> None:
    """Whoever comes while one is computed must still have the time for one of his own."""
    only = _behind()
    schedule = _schedule((LIMITS.batch_rows, 60))
    unlimited = schedule.next([only], time.monotonic())
    schedule.budgets.saw(0.0054, time.monotonic())
    polite = schedule.next([only], time.monotonic())
    assert isinstance(unlimited, Send)
    assert isinstance(polite, Send)
    # Half of it is the fixed cost and 170 rows.
    assert unlimited.most == 200
    assert polite.most == pytest.approx(170, abs=5)


async def test_politeness_does_not_cost_the_throughput() -> None:
    """Calls that bring next to nothing cannot force inefficient batches on the others."""
    schedule = _schedule((LIMITS.batch_rows, 60))
    schedule.budgets.saw(0.0001, time.monotonic())
    decision = schedule.next([_behind()], time.monotonic())
    assert isinstance(decision, Send)
    assert decision.most == pytest.approx(EFFICIENT, abs=2)


async def test_rows_that_cannot_make_it_are_refused() -> None:
    """Those due before a batch would end, and no others."""
    now = time.monotonic()
    decision = _schedule((1, 0.0005), (1, 60)).next([_behind()], now)
    assert isinstance(decision, Refuse)
    assert now + 0.0005 < decision.until < now + 0.002


async def test_under_a_backlog_rows_must_have_the_time_for_an_efficient_batch() -> None:
    """A batch cut short for the most urgent row would cost the others more than it saves."""
    alone, crowded = ((1, 0.0018),), ((1, 0.0018), (1000, 60))
    assert isinstance(_schedule(*alone).next([_behind()], time.monotonic()), Send)
    assert isinstance(_schedule(*crowded).next([_behind()], time.monotonic()), Refuse)


async def test_the_next_runtime_takes_only_what_the_first_cannot_compute_in_time() -> None:
    """`until` keeps the others for the first choice."""
    slow, fast = _learnt(station(GatedModel(), "triton"), fixed_s=0.5), _learnt(station(GatedModel(), "onnx"))
    now = time.monotonic()
    decision = _schedule((1, 0.1), (1, 60)).next([slow, fast], now)
    assert isinstance(decision, Send)
    assert fast is decision.station
    assert now + 0.1 < decision.until < now + 0.6


async def test_rows_wait_for_the_first_choice_until_the_next_has_to_begin() -> None:
    """A little earlier, as this process may be busy then; the way back is no part of the time that they have for it."""
    first, other = _learnt(station(GatedModel(), "triton")), _learnt(station(GatedModel(), "onnx"))
    first.enter(1)
    decision = _schedule((1, 0.5)).next([first, other], time.monotonic())
    assert isinstance(decision, Wait)
    assert pytest.approx(0.95 * 0.5 - other.cost.surely_s(1)) == decision.seconds


async def test_nobody_serves_when_no_runtime_is_well() -> None:
    """A runtime whose breaker is open is not asked."""
    only = _behind()
    for _ in range(10):
        only.breaker.failed(certain=True)
    assert not only.well
    assert isinstance(_schedule((1, 60)).next([only], time.monotonic()), Unserved)


async def test_a_call_that_would_wait_too_long_is_refused_when_it_comes() -> None:
    """What waits counts twice: of those that come later, the more urgent go first."""
    # 2,000 rows take 20 ms in batches of 200 and 10 fixed ms more: 30 ms.
    schedule, only = _schedule((2000, 0.03)), _behind()
    now = time.monotonic()
    assert schedule.hopeless(_ticket(1, 0.055), [only], now)
    assert not schedule.hopeless(_ticket(1, 0.075), [only], now)
    assert not schedule.hopeless(_ticket(1, 0.02), [only], now)


@dataclass
class _Server:
    """A runtime in virtual time: one batch after the other, each for FIXED_S and ROW_S a row, give or take."""

    stray: float = 0.0
    platform: str = "virtual"
    parallel: int = 1
    ahead: int = 1
    sent: list[tuple[float, Array]] = field(default_factory=list)
    rows: Counter[float] = field(default_factory=Counter)
    _free: float = 0.0
    _random: random.Random = field(default_factory=lambda: random.Random(3))

    async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
        """Give each row's number back."""
        now = time.monotonic()
        numbers = inputs["x"]
        self.sent.append((now, numbers))
        cost_s = (FIXED_S + ROW_S * len(numbers)) * self._random.lognormvariate(0, self.stray)
        self._free = max(now, self._free) + cost_s
        await asyncio.sleep(self._free - now)
        return {"y": numbers}

    async def revive(self) -> None:
        """Lose nothing."""

    async def close(self) -> None:
        """Hold nothing."""


@dataclass
class _Arrival:
    """A call of so many rows, `after_s` seconds after the one before, with `left_s` of time."""

    after_s: float
    rows: int
    left_s: float


@dataclass
class _Replay:
    """What became of calls: their outcome, in rows, and when each row had to be computed at the latest."""

    server: _Server
    lag_s: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    deadlines: list[float] = field(default_factory=list)

    async def run(self, arrivals: list[_Arrival]) -> None:
        """Let the calls come; each takes `lag_s` on its way there, and as long on its way back."""
        queue = batcher(_learnt(station(self.server, "triton")), limits=LIMITS)
        calls = []
        for arrival in arrivals:
            await asyncio.sleep(arrival.after_s)
            calls.append(asyncio.create_task(self._ask(queue, arrival)))
        await asyncio.gather(*calls)

    async def _ask(self, queue: Batcher, arrival: _Arrival) -> None:
        due = time.monotonic() + arrival.left_s
        await asyncio.sleep(self.lag_s)
        first = len(self.deadlines)
        self.deadlines += [due] * arrival.rows
        numbers = np.arange(first, first + arrival.rows, dtype=np.float32)
        try:
            answer = await queue.infer(InferCall({"x": numbers}, arrival.rows, due))
        except MeshError as error:
            self.outcomes[error.code.name] += arrival.rows
            return
        assert numbers.tolist() == answer.outputs["y"].tolist()
        in_time = time.monotonic() + self.lag_s <= due
        self.outcomes["in time" if in_time else "late"] += arrival.rows


def _poisson(rows_per_second: float, seconds: float, rows: int, left_s: tuple[float, ...]) -> list[_Arrival]:
    chance = random.Random(5)
    count = int(rows_per_second / rows * seconds)
    return [_Arrival(chance.expovariate(rows_per_second / rows), rows, chance.choice(left_s)) for _ in range(count)]


@given(
    st.lists(
        st.builds(
            _Arrival,
            after_s=st.floats(0, 0.003),
            rows=st.integers(1, 300),
            left_s=st.sampled_from((0.004, 0.02, 0.2)),
        ),
        max_size=60,
    )
)
@settings(deadline=None, max_examples=60)
def test_every_row_is_computed_in_time_or_not_at_all(arrivals: list[_Arrival]) -> None:
    """On a runtime that keeps to its costs nothing is sent twice or too late, and every call comes to its end."""
    server = _Server()
    replay = _Replay(server)
    run_virtually(replay.run(arrivals))
    assert sum(arrival.rows for arrival in arrivals) == replay.outcomes.total()
    assert {"in time", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"} >= set(replay.outcomes)
    sent = Counter(int(number) for _, numbers in server.sent for number in numbers)
    assert set(sent.values()) <= {1}
    assert all(at < replay.deadlines[int(number)] for at, numbers in server.sent for number in numbers)


@pytest.mark.parametrize("overload", [1.1, 1.5, 3.0])
def test_overload_does_not_lower_what_is_answered_in_time(overload: float) -> None:
    """With short and long deadlines, costs that stray by a fifth and ways that take a millisecond."""
    capacity = LIMITS.batch_rows / (FIXED_S + ROW_S * LIMITS.batch_rows)
    replay = _Replay(_Server(stray=0.2), lag_s=0.001)
    run_virtually(replay.run(_poisson(overload * capacity, 1.0, 16, (0.02, 0.2))))
    assert replay.outcomes["in time"] >= 0.9 * capacity
    assert replay.outcomes["late"] <= 0.02 * capacity


def test_nothing_is_refused_below_capacity() -> None:
    """At seven tenths of it every deadline is met."""
    capacity = LIMITS.batch_rows / (FIXED_S + ROW_S * LIMITS.batch_rows)
    replay = _Replay(_Server(stray=0.2), lag_s=0.001)
    run_virtually(replay.run(_poisson(0.7 * capacity, 1.0, 16, (0.02, 0.2))))
    assert {"in time"} == set(replay.outcomes)
