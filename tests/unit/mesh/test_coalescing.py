"""What waits leaves together; nobody waits without need, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mesh import boarding, coalescing
from services.mesh.coalescing import Coalescer, Quantile
from services.mesh.errors import Code, Overloaded
from tests.support.virtual_time import run_virtually
from tests.support.waiting import eventually

LIMIT_S = 5
QUEUE_ROWS = 20


@dataclass
class Member:
    """A row or several; `eq` would compare values, so a coalescer must go by identity."""

    rows: int = 1
    answer: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def done(self) -> bool:
        return self.answer.done()

    def __eq__(self, other: object) -> bool:
        raise AssertionError("members may hold arrays, which cannot be compared")

    __hash__ = object.__hash__


class Road:
    """Batches that stay under way until the test lets them arrive."""

    def __init__(self) -> None:
        self.batches: list[list[Member]] = []
        self.cancelled: list[int] = []
        self._gates: list[asyncio.Future[None]] = []
        self._news = asyncio.Event()

    async def run(self, batch: list[Member]) -> None:
        number = len(self.batches)
        self.batches.append(batch)
        self._gates.append(asyncio.get_running_loop().create_future())
        self._news.set()
        try:
            await self._gates[number]
        except asyncio.CancelledError:
            self.cancelled.append(number)
            self._news.set()
        for member in batch:
            if not member.done():
                member.answer.set_result("answered")

    def arrive(self, number: int) -> None:
        if not self._gates[number].done():
            self._gates[number].set_result(None)

    async def wait_for(self, departed: int) -> list[list[Member]]:
        await self._until(lambda: len(self.batches) >= departed)
        return self.batches

    async def wait_cancelled(self, number: int) -> None:
        await self._until(lambda: number in self.cancelled)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()


async def turns(count: int = 10) -> None:
    """Let the loop do everything that needs no time."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True, scope="module")
def loop_at_rest() -> Iterator[None]:
    """Take every turn of the loop for one at rest: how long one takes is the machine's affair."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boarding, "IDLE_TURN_S", math.inf)
        yield


def coalescer(
    road: Road,
    *,
    max_rows: int = 8,
    max_queued_rows: int = 100,
    max_under_way: int = 4,
    behind: Coalescer[Member] | None = None,
) -> Coalescer[Member]:
    """Return a coalescer over `road`."""
    return Coalescer(
        road.run, max_rows=max_rows, max_queued_rows=max_queued_rows, max_under_way=max_under_way, behind=behind
    )


def impatient(batches: Coalescer[Member]) -> Coalescer[Member]:
    """Make every batch late at once."""
    batches._durations.value = 1e-9
    return batches


async def test_single_request_leaves_at_once() -> None:
    """Nobody waits for company when no batch is under way."""
    road = Road()
    member = Member()
    coalescer(road).submit(member)
    await turns(2)
    assert [1] == [len(batch) for batch in road.batches]
    road.arrive(0)
    assert "answered" == await member.answer


async def test_batch_waits_for_the_one_under_way_before_it() -> None:
    """What comes out of that one, too, leaves in the same batch."""
    first, second = Road(), Road()
    before = coalescer(first)
    behind = coalescer(second, behind=before)
    before.submit(Member())
    await first.wait_for(1)
    behind.submit(Member())
    await turns()
    assert [] == second.batches
    behind.submit(Member())
    first.arrive(0)
    assert [2] == [len(batch) for batch in await second.wait_for(1)]
    second.arrive(0)


async def test_batch_does_not_wait_for_one_before_it_that_is_late() -> None:
    """What hangs there holds nobody back here."""
    first, second = Road(), Road()
    before = impatient(coalescer(first))
    behind = coalescer(second, behind=before)
    before.submit(Member())
    await first.wait_for(1)
    behind.submit(Member())
    assert [1] == [len(batch) for batch in await second.wait_for(1)]
    second.arrive(0)
    first.arrive(0)


async def test_nobody_waits_behind_what_is_empty() -> None:
    """Without a batch before it, one leaves at once."""
    road = Road()
    coalescer(road, behind=coalescer(Road())).submit(Member())
    await turns(3)
    assert [1] == [len(batch) for batch in road.batches]
    road.arrive(0)


async def test_whoever_arrives_while_the_loop_is_busy_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the loop has other work a batch stays, until it is full."""
    monkeypatch.setattr(boarding, "IDLE_TURN_S", 0)
    monkeypatch.setattr(boarding, "LONGEST_BOARDING_S", math.inf)
    road = Road()
    batches = coalescer(road, max_rows=2)
    batches.submit(Member())
    await turns()
    assert [] == road.batches
    batches.submit(Member())
    assert [2] == [len(batch) for batch in await road.wait_for(1)]
    road.arrive(0)


async def test_a_busy_loop_holds_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is not full leaves when it has stayed for the longest time."""
    monkeypatch.setattr(boarding, "IDLE_TURN_S", 0)
    monkeypatch.setattr(boarding, "LONGEST_BOARDING_S", 0)
    road = Road()
    coalescer(road).submit(Member())
    assert [1] == [len(batch) for batch in await road.wait_for(1)]
    road.arrive(0)


async def test_arrivals_of_one_turn_leave_together() -> None:
    """Requests that the loop reads in one turn share the first batch."""
    road = Road()
    batches = coalescer(road)
    for _ in range(3):
        batches.submit(Member())
    assert [3] == [len(batch) for batch in await road.wait_for(1)]
    road.arrive(0)


async def test_arrivals_under_way_leave_together_as_the_next() -> None:
    """What arrives while a batch is under way waits for its return and leaves together."""
    road = Road()
    batches = coalescer(road)
    batches.submit(Member())
    await road.wait_for(1)
    waiting = [Member() for _ in range(3)]
    for member in waiting:
        batches.submit(member)
        await turns()
    assert 1 == len(road.batches)
    assert 3 == batches.queued_rows
    road.arrive(0)
    assert [1, 3] == [len(batch) for batch in await road.wait_for(2)]
    assert 0 == batches.queued_rows
    road.arrive(1)
    assert ["answered"] * 3 == [await member.answer for member in waiting]


async def test_max_rows_splits_what_waits() -> None:
    """A batch holds at most max_rows rows, in order of arrival; a larger member travels alone."""
    road = Road()
    batches = coalescer(road, max_rows=4)
    for rows in (2, 2, 1, 9, 4):
        batches.submit(Member(rows))
    expected = [[2, 2], [1], [9], [4]]
    for number in range(len(expected)):
        await road.wait_for(number + 1)
        road.arrive(number)
    assert expected == [[member.rows for member in batch] for batch in road.batches]


async def test_cancelled_member_leaves_before_dispatch() -> None:
    """Work that nobody waits for is not done, and its rows make room at once."""
    road = Road()
    batches = coalescer(road, max_queued_rows=2)
    batches.submit(Member())
    await road.wait_for(1)
    gone, kept, late = Member(), Member(), Member()
    batches.submit(gone)
    batches.submit(kept)
    gone.answer.cancel()
    batches.left(gone)
    assert 1 == batches.queued_rows
    batches.submit(late)
    road.arrive(0)
    second = (await road.wait_for(2))[1]
    assert [True, True] == [second[0] is kept, second[1] is late]
    assert 2 == len(second)
    road.arrive(1)


async def test_done_member_that_never_said_so_is_left_out() -> None:
    """A member that is done when its batch leaves stays behind even without a word."""
    road = Road()
    batches = coalescer(road)
    gone = Member()
    gone.answer.cancel()
    batches.submit(gone)
    await turns()
    assert [] == road.batches
    assert 0 == batches.queued_rows
    batches.submit(Member())
    assert 1 == len((await road.wait_for(1))[0])
    road.arrive(0)


async def test_batch_whose_members_have_all_gone_is_cancelled() -> None:
    """The last member to leave takes the batch with it, and the next one departs."""
    road = Road()
    batches = coalescer(road)
    members = [Member(), Member()]
    for member in members:
        batches.submit(member)
    await road.wait_for(1)
    batches.submit(Member())
    members[0].answer.cancel()
    batches.left(members[0])
    await turns()
    assert [] == road.cancelled
    members[1].answer.cancel()
    batches.left(members[1])
    batches.left(members[1])
    await road.wait_cancelled(0)
    await road.wait_for(2)
    road.arrive(1)


async def test_overloaded_beyond_max_queued_rows() -> None:
    """A full queue refuses at once and says when to come back; what it holds stays."""
    road = Road()
    batches = coalescer(road, max_queued_rows=5)
    batches.submit(Member())
    await road.wait_for(1)
    batches.submit(Member(3))
    with pytest.raises(Overloaded) as refused:
        batches.submit(Member(3))
    assert (Code.RESOURCE_EXHAUSTED, coalescing.RETRY_AFTER_S) == (refused.value.code, refused.value.retry_after_s)
    batches.submit(Member(2))
    assert 5 == batches.queued_rows
    road.arrive(0)
    assert 2 == len((await road.wait_for(2))[1])
    road.arrive(1)


async def test_slow_batch_opens_another_for_what_waits() -> None:
    """What waits behind a batch that is older than the p99 leaves beside it."""
    road = Road()
    batches = impatient(coalescer(road))
    batches.submit(Member())
    await road.wait_for(1)
    batches.submit(Member())
    await road.wait_for(2)
    road.arrive(1)
    road.arrive(0)


async def test_slow_batch_holds_nobody_back_who_arrives_later() -> None:
    """A batch that was late before anybody waited does not hold back whoever comes then."""
    road = Road()
    batches = impatient(coalescer(road))
    batches.submit(Member())
    await road.wait_for(1)
    await eventually(lambda: not batches._punctual)
    batches.submit(Member())
    await turns()
    assert 2 == len(road.batches)
    road.arrive(1)
    road.arrive(0)


async def test_return_of_the_second_batch_frees_what_waits_while_the_first_is_slow() -> None:
    """With a slow batch still out, those beside it follow one another without it."""
    road = Road()
    batches = impatient(coalescer(road))
    batches.submit(Member())
    await road.wait_for(1)
    batches.submit(Member())
    await road.wait_for(2)
    batches._durations.value = 60.0
    road.arrive(1)
    await turns()
    batches.submit(Member())
    await road.wait_for(3)
    batches.submit(Member())
    await turns()
    assert 3 == len(road.batches)
    road.arrive(2)
    await road.wait_for(4)
    road.arrive(3)
    road.arrive(0)


async def test_batches_under_way_are_bounded() -> None:
    """However slow, no more than max_under_way batches are out; the first to return lets the next leave."""
    road = Road()
    batches = impatient(coalescer(road, max_under_way=2))
    for number in range(2):
        batches.submit(Member())
        await road.wait_for(number + 1)
    batches.submit(Member())
    await eventually(lambda: not batches._punctual)
    assert 2 == len(road.batches)
    road.arrive(0)
    await road.wait_for(3)
    road.arrive(1)
    road.arrive(2)


async def test_batch_cancelled_before_it_took_its_members_leaves_them_to_the_next() -> None:
    """A batch that ends before its first turn loses nobody."""
    road = Road()
    batches = coalescer(road)
    member = Member()
    batches.submit(member)
    next(iter(batches._under_way)).cancel()
    await road.wait_for(1)
    road.arrive(0)
    assert "answered" == await member.answer


async def test_run_that_raises_does_not_stop_the_next_batch(caplog: pytest.LogCaptureFixture) -> None:
    """A fault in one batch is logged, and the next leaves."""
    seen: list[int] = []

    async def run(batch: list[Member]) -> None:
        seen.append(len(batch))
        if len(seen) == 1:
            raise ValueError("broken")
        batch[0].answer.set_result("answered")

    batches: Coalescer[Member] = Coalescer(run, max_rows=1, max_queued_rows=9)
    batches.submit(Member())
    second = Member()
    batches.submit(second)
    assert "answered" == await second.answer
    assert "broken" in caplog.text


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), max_rows=st.integers(1, 6), max_under_way=st.integers(1, 4))
def test_every_member_is_answered_or_gone(seed: int, max_rows: int, max_under_way: int) -> None:
    """Under any order of arrivals, departures, cancellations and returns, nobody is forgotten and no row is counted twice."""
    asyncio.run(_random_schedule(random.Random(seed), max_rows, max_under_way))


class Schedule:
    """A random course of events on a road."""

    def __init__(self, chance: random.Random, batches: Coalescer[Member], road: Road) -> None:
        self._chance = chance
        self._batches = batches
        self._road = road
        self._arrived: set[int] = set()
        self.members: list[Member] = []

    async def step(self) -> None:
        await self._chance.choice((self._submit, self._submit, self._leave, self._arrive, self._be_late, self._turn))()

    async def finish(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            while self._batches._under_way:
                await self._arrive()
                await turns()

    async def _submit(self) -> None:
        member = Member(self._chance.randint(1, 3))
        try:
            self._batches.submit(member)
        except Overloaded:
            assert self._batches.queued_rows + member.rows > QUEUE_ROWS
        else:
            self.members.append(member)

    async def _leave(self) -> None:
        if self.members:
            gone = self._chance.choice(self.members)
            gone.answer.cancel()
            self._batches.left(gone)

    async def _arrive(self) -> None:
        waiting = set(range(len(self._road.batches))) - self._arrived
        if waiting:
            number = self._chance.choice(sorted(waiting))
            self._arrived.add(number)
            self._road.arrive(number)

    async def _be_late(self) -> None:
        for task in list(self._batches._punctual):
            self._batches._overdue(task)

    async def _turn(self) -> None:
        await turns(self._chance.randint(1, 4))


async def _random_schedule(chance: random.Random, max_rows: int, max_under_way: int) -> None:
    road = Road()
    batches = coalescer(road, max_rows=max_rows, max_queued_rows=QUEUE_ROWS, max_under_way=max_under_way)
    schedule = Schedule(chance, batches, road)
    for _ in range(150):
        await schedule.step()
        assert batches.queued_rows == sum(member.rows for member in batches._queue)
        assert len(batches._under_way) <= max_under_way
    await schedule.finish()
    assert all(member.done() for member in schedule.members)
    assert 0 == batches.queued_rows
    travelled = [id(member) for batch in road.batches for member in batch]
    assert len(set(travelled)) == len(travelled)


@pytest.mark.parametrize(
    ("due_in_s", "least_s", "most_s"),
    [(math.inf, 3.9e-3, 5.1e-3), (1e-3, 0.0, 2.1e-3), (-1.0, 0.0, 1e-4), (None, 0.0, 1e-4)],
)
def test_a_crowd_is_waited_for_while_deadlines_allow_it(due_in_s: float | None, least_s: float, most_s: float) -> None:
    """A batch waits for those just answered, unless its own would be late for that, or come from nobody who asks again."""

    async def run(batch: list[Member]) -> None:
        left.append(time.monotonic())
        await asyncio.sleep(0.01)
        for member in batch:
            member.answer.set_result("answered")

    async def main() -> float:
        dues: dict[Member, float] = {}
        due = None if due_in_s is None else dues.__getitem__
        batches = Coalescer(run, max_rows=64, max_queued_rows=64, due=due)
        crowd = [Member() for _ in range(boarding.COMPANY)]
        for member in crowd:
            dues[member] = math.inf
            batches.submit(member)
        await asyncio.gather(*(member.answer for member in crowd))
        await asyncio.sleep(0)
        start, last = time.monotonic(), Member()
        dues[last] = start + (due_in_s or 0.0) + batches.p99_s
        batches.submit(last)
        await last.answer
        return left[-1] - start

    left: list[float] = []
    assert least_s <= run_virtually(main()) <= most_s


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_quantile_converges(q: float) -> None:
    """The estimate settles near the true quantile of skewed durations, from far above and from far below."""
    chance = random.Random(7)
    for start in (10.0, 0.0001):
        estimate = Quantile(q, start=start)
        samples = [chance.lognormvariate(-5, 0.5) for _ in range(60_000)]
        for sample in samples:
            estimate.observe(sample)
        below = sum(sample < estimate.value for sample in samples) / len(samples)
        assert pytest.approx(q, abs=(1 - q) * 0.6) == below
