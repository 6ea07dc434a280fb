"""The fallback ladder: rows that the route's version fails go on to the next step, at once and within the same deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from opentelemetry.trace import SpanKind

from services.gateway.checks import member_of
from services.gateway.ladder.merging import Merging
from services.gateway.ladder.steps import Fallback, LastAnswerStep, StaticStep, VersionStep
from services.gateway.prediction import LadderStep, LadderStepKind, Outcome
from services.gateway.request import rows_of
from services.mesh import context as calls
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, DeadlineExceeded, MeshError
from services.mesh.telemetry import names
from services.mesh.telemetry.spans import span

if TYPE_CHECKING:
    from prometheus_client import Counter

    from services.gateway.ladder.last_answers import LastAnswers
    from services.gateway.lanes import Lanes
    from services.gateway.request import Member, PredictCall
    from services.gateway.routing import Endpoint
    from services.gateway.target import Target

# What is left for steps that need no call, and for the answer on its way to the caller: so many seconds, within these
# shares of a request's time. Callers whose time is over at once are answered one after another: with sixteen of them on
# two cores shared with all services, a third of it left one in twenty without his answer after 50 ms.
MEMORY_S = 0.015
MEMORY_SHARE, MOST_MEMORY_SHARE = 0.05, 0.2
# What is left of the rest for later versions at most, and for each at least.
LATER_SHARE = 0.5
LEAST_VERSION_S = 0.005
# With less time than that no version is asked.
LEAST_S = 0.001
# A request may have to wait for the batch before its own.
BATCHES = 2
# What a version is left, whatever comes later, of what it nearly always needs to answer.
ENOUGH = 1.5


class _Request(NamedTuple):
    """A request on its way: as it came, as its route's `target` takes it, and until when it must be answered.

    `kept_s` are left at the end, in seconds.
    """

    call: PredictCall
    endpoint: Endpoint
    target: Target
    member: Member
    deadline: Deadline
    kept_s: float


class Ladder:
    """Answers requests of endpoints that have fallbacks.

    A version that is asked has all the time that is left but for what later steps need: nearly all batches of their
    versions, as far as that is known, no more than half of it, and nothing that the version nearly always needs itself.
    So one that hangs costs the caller neither the answer nor the deadline, and one that is well answers as without a
    ladder. Steps that need no call are taken even when the time is over: the caller may still hear.
    """

    def __init__(self, lanes: Lanes, memory: LastAnswers) -> None:
        self._lanes = lanes
        self._memory = memory

    async def answer(
        self, call: PredictCall, endpoint: Endpoint, target: Target, member: Member
    ) -> tuple[Outcome, Sequence[LadderStep]]:
        """Return the answer, and the steps that were tried if the route's version, the `target`, left rows to others.

        `member` is the request as that version takes it. Raises what that version fails with if no step answers any row,
        and at once if it is the caller's fault, or if the deadline had passed before.
        """
        deadline, steps = member.deadline, endpoint.fallbacks[target]
        start, left = time.perf_counter_ns(), deadline.remaining()
        if left <= 0:
            return await self._lanes.of(target).answer(member), ()
        kept_s = min(max(MEMORY_S, left * MEMORY_SHARE), left * MOST_MEMORY_SHARE)
        share = self._share(target, left, steps, kept_s)
        member.deadline = Deadline(deadline.at - left + share)
        outcome: Outcome | None = None
        try:
            outcome = await self._lanes.of(target).answer(member)
        except MeshError as error:
            errors = dict(member.failed or dict.fromkeys(range(member.rows), _told(error, share, deadline)))
        else:
            self._memory.remember(endpoint.name, target, member.keys, call.as_of_us, outcome)
            errors = outcome.row_errors
        if outcome is not None and not errors:
            return outcome, ()
        step = LadderStep(LadderStepKind.ROUTE, target.version, [], None, _us_since(start), target=target)
        merging = Merging(target, member.rows, outcome, errors, step)
        if outcome is not None and not merging.open:
            return outcome, ()
        await self._descend(steps, _Request(call, endpoint, target, member, deadline, kept_s), merging)
        # Those who failed together take their steps before the first of them is answered.
        await asyncio.sleep(0)
        return merging.outcome(), merging.steps

    async def _descend(self, steps: Sequence[Fallback], request: _Request, merging: Merging) -> None:
        """Take the steps until every row is answered."""
        for place, fallback in enumerate(steps):
            if not merging.open:
                return
            with _traced(fallback.subject, merging):
                await self._take(fallback, steps[place + 1 :], request, merging)
            _count(request.endpoint.name, fallback.subject, len(merging.steps[-1].answered))
        if merging.open:
            _count(request.endpoint.name, "none", len(merging.open))

    async def _take(self, fallback: Fallback, later: Sequence[Fallback], request: _Request, merging: Merging) -> None:
        start, rows = time.perf_counter_ns(), merging.open
        match fallback:
            case VersionStep():
                target = fallback.target
                found = await self._ask(target, later, request, rows)
                step = LadderStep(LadderStepKind.VERSION, target.version, [], None, _us_since(start), target=target)
                merging.add(fallback.subject, step, found, fallback.places)
            case LastAnswerStep():
                last = self._memory.find(
                    request.endpoint.name,
                    request.target,
                    request.member.keys,
                    rows,
                    request.call.as_of_us,
                    fallback.max_age_s,
                )
                step = LadderStep(LadderStepKind.LAST_ANSWER, last.version, [], None, _us_since(start), last.age_ms)
                merging.add(fallback.subject, step, last.outcome)
            case StaticStep():
                outputs = [np.repeat(values, len(rows), axis=0) for values in fallback.outputs]
                step = LadderStep(LadderStepKind.ANSWER, "", [], None, _us_since(start))
                merging.add(fallback.subject, step, Outcome(outputs, {}, [], [], ""))

    async def _ask(
        self, target: Target, later: Sequence[Fallback], request: _Request, rows: Sequence[int]
    ) -> Outcome | MeshError:
        """Return what another version makes of the rows."""
        left = request.deadline.remaining()
        share = self._share(target, left, later, request.kept_s)
        if share < LEAST_S:
            return DeadlineExceeded("no time was left for it")
        try:
            call = rows_of(request.call, rows, request.member.rows)
            member = member_of(call, target, Deadline(request.deadline.at - left + share), calls.current())
            # Inputs are kept of a version that may have answered every row.
            member.explain = request.member.explain and call is request.call
            return await self._lanes.of(target).answer(member)
        except MeshError as error:
            return _told(error, share, request.deadline)

    def _share(self, target: Target, left: float, later: Sequence[Fallback], kept_s: float) -> float:
        """Return how much of the time that is left a version may take, in seconds, before `later` steps are taken."""
        if not later:
            return left
        left -= kept_s
        versions = [step.target for step in later if type(step) is VersionStep]
        if not versions:
            return left
        least = LEAST_VERSION_S * len(versions)
        needs = sum(max(BATCHES * self._lanes.p99_s(version), LEAST_VERSION_S) for version in versions)
        spare = max(left - ENOUGH * self._lanes.answered_s(target), least)
        return left - min(needs, spare, left * LATER_SHARE)


def _us_since(start_ns: int) -> int:
    return (time.perf_counter_ns() - start_ns) // 1000


def _told(error: MeshError, share: float, deadline: Deadline) -> MeshError:
    """Return the error as it is told of a step, whose time was not the caller's."""
    if error.code is not Code.DEADLINE_EXCEEDED or deadline.remaining() <= 0:
        return error
    return DeadlineExceeded(f"no answer within {share * 1000:.0f} ms, its share of the deadline")


@contextmanager
def _traced(subject: str, merging: Merging) -> Iterator[None]:
    """Leave a span of a step, if the request is traced."""
    running = calls.current()
    if running is None or not running.sampled or running.tracer is None:
        yield
        return
    asked = len(merging.open)
    with span(f"fallback {subject}", running, SpanKind.INTERNAL, attributes={"rows": asked}) as opened:
        yield
        opened.set_attribute("answered_rows", asked - len(merging.open))
        left = merging.steps[-1].left
        if left is not None:
            opened.set_attribute("error.type", str(left.reason))


@cache
def _counter(endpoint: str, step: str) -> Counter:
    return names.FALLBACK_ROWS.labels(endpoint, step)


def _count(endpoint: str, step: str, rows: int) -> None:
    if rows:
        _counter(endpoint, step).inc(rows)
