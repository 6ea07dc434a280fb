"""Asking a second version as well: after the caller has his answer, when nobody else waits, and never more than a few.

A shadow has calls, batches, breakers and deadlines of its own, so that what happens to it happens to nobody else.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self, cast

from services.gateway.agreement import Agreements, Pair, ShadowExample
from services.gateway.assembly import bytes_of
from services.gateway.checks import member_of
from services.gateway.comparing import Incomparable, common_outputs, compare
from services.gateway.lane import Features, Lane, Model
from services.gateway.lanes import kind_of
from services.gateway.routing import RouteReason
from services.gateway.splitting import sampled
from services.mesh.boarding import IDLE_TURN_S
from services.mesh.deadline import Deadline
from services.mesh.errors import MeshError
from services.mesh.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

    from services.gateway.policies import Shadow
    from services.gateway.prediction import Outcome, Prediction
    from services.gateway.request import PredictCall
    from services.gateway.routing import Endpoint, Route
    from services.gateway.target import Output, Target

logger = logging.getLogger(__name__)
_PINNED = frozenset({RouteReason.PINNED, RouteReason.PINNED_ALIAS, RouteReason.PINNED_RANGE})
# Requests that wait for the shadow of one endpoint; more are dropped.
MAX_WAITING = 64
# Rows that are asked together: few, as nothing else runs while they are made ready.
MAX_BATCH_ROWS = 32
# Of one answer in an example, which is for people, is reported each second that it stands, and kept by the registry.
MAX_EXAMPLE_BYTES = 4096
# How often a shadow looks whether callers are served.
PAUSE_S = 0.005
# What it waits for them at most, so that something is known of a shadow under any load: a batch a second costs little.
LONGEST_WAIT_S = 1.0
# After a batch of which nothing was answered: a version that is broken, or slow, is not asked all the time.
FAILED_PAUSE_S = 1.0


class _Asked(NamedTuple):
    """A request that was answered, and that the shadow is to answer too."""

    call: PredictCall
    endpoint: Endpoint
    shadow: Shadow
    prediction: Prediction


@dataclass(slots=True)
class _Line:
    """What waits for the shadow of one endpoint, and who sees to it as long as anything does."""

    waiting: deque[_Asked] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class Shadowing:
    """Observes predictions, and compares those that are sampled with what the endpoint's shadow answers.

    Callers come first: what waits for a shadow is sent when the gateway is `idle` and its event loop at rest, or when it
    has waited for LONGEST_WAIT_S; one batch after another for each endpoint, and seldom while they fail. What finds
    MAX_WAITING before it is dropped. What is under way at the end is given up.
    """

    def __init__(self, features: Features, model: Model, agreements: Agreements, *, idle: Callable[[], bool]) -> None:
        self._features = features
        self._model = model
        self._agreements = agreements
        self._idle = idle
        self._lines: dict[str, _Line] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def lines(self) -> int:
        """How many endpoints have something waiting, or under way."""
        return len(self._lines)

    def answered(
        self,
        call: PredictCall,
        endpoint: Endpoint,
        prediction: Prediction,
        seconds: float,  # noqa: ARG002 - of no account here
    ) -> None:
        """Put the request in line if it is sampled; not one whose caller named the version, or that the shadow answered.

        Nor one that the route's version has left to fallbacks altogether.
        """
        shadow, route = endpoint.shadow, prediction.route
        if shadow is None or route.target is shadow.target or route.reason in _PINNED or call.explain:
            return
        if not sampled(f"shadow:{endpoint.name}", prediction.prediction_id, shadow.percent):
            return
        if len(prediction.fallback_rows) == prediction.rows:
            return
        line = self._lines.get(endpoint.name) or self._new_line(endpoint.name)
        asked = _Asked(call, endpoint, shadow, prediction)
        if len(line.waiting) >= MAX_WAITING:
            self._agreements.of(_pair(asked)).left_out()
            _count(asked, "dropped")
            return
        line.waiting.append(asked)

    def failed(self, call: PredictCall, endpoint: Endpoint, route: Route, error: MeshError, seconds: float) -> None:
        """Ask nothing: there is no answer to compare with."""

    def _new_line(self, name: str) -> _Line:
        line = self._lines[name] = _Line()
        # In a context of its own: the caller's trace ends with his answer.
        line.task = asyncio.get_running_loop().create_task(self._serve(name, line), context=contextvars.Context())
        return line

    async def _serve(self, name: str, line: _Line) -> None:
        try:
            await self._work(line.waiting)
        finally:
            # So that nothing is kept for endpoints that are gone, and the next request begins anew after a fault.
            del self._lines[name]

    async def _work(self, waiting: deque[_Asked]) -> None:
        lane: Lane | None = None
        while waiting:
            await self._quiet()
            target = waiting[0].shadow.target
            if lane is None or lane.target is not target:
                lane = self._lane(target)
            answers = await asyncio.gather(*(self._ask(lane, asked) for asked in _batch(waiting, target)))
            if not any(answers):
                await asyncio.sleep(FAILED_PAUSE_S)

    async def _quiet(self) -> None:
        """Return when no caller waits and the event loop has nothing else to do, or when that takes too long."""
        until = time.monotonic() + LONGEST_WAIT_S
        while True:
            # Not at once: the caller who has just been answered may ask again, and others join the batch.
            await asyncio.sleep(PAUSE_S)
            before = time.monotonic()
            await asyncio.sleep(0)
            now = time.monotonic()
            if (self._idle() and now - before < IDLE_TURN_S) or now > until:
                return

    def _lane(self, target: Target) -> Lane:
        return kind_of(target)(
            target,
            self._features,
            self._model,
            max_rows=MAX_BATCH_ROWS,
            # What is in line is bounded, and a batch is no more than its lane takes.
            max_queued_rows=2**31,
            measured=False,
        )

    async def _ask(self, lane: Lane, asked: _Asked) -> bool:
        """Ask the shadow, count how its answer compares, and return whether there was one; raises nothing."""
        answered, result = False, "failed"
        try:
            deadline = Deadline.after(asked.endpoint.default_timeout_s)
            outcome = await lane.answer(member_of(asked.call, lane.target, deadline, None))
            answered = True
            if self._compared(asked, outcome):
                result = "compared"
        except (MeshError, Incomparable) as error:
            logger.debug("a shadow failed", extra={"endpoint": asked.endpoint.name, "cause": str(error)})
        except Exception:
            logger.exception("a shadow cannot be compared", extra={"endpoint": asked.endpoint.name})
        if result == "failed":
            self._agreements.of(_pair(asked)).failed()
        _count(asked, result)
        return answered

    def _compared(self, asked: _Asked, outcome: Outcome) -> bool:
        """Count the rows that both answered, and return whether neither failed one that the other answered.

        Rows of fallbacks are left out.
        """
        primary, shadow = asked.prediction.outcome, asked.shadow
        elsewhere = asked.prediction.fallback_rows
        places = common_outputs(asked.prediction.route.target.outputs, shadow.target.outputs)
        failed = primary.row_errors.keys() | outcome.row_errors.keys() | elsewhere
        rows = [row for row in range(asked.prediction.rows) if row not in failed]
        if rows:
            found = compare(
                [(primary.outputs[ours][rows], outcome.outputs[theirs][rows]) for ours, theirs in places],
                absolute=shadow.absolute_tolerance,
                relative=shadow.relative_tolerance,
            )
            example = partial(_example, asked, outcome, rows)
            self._agreements.of(_pair(asked)).add(found, example, time.time_ns() // 1000)
        return primary.row_errors.keys() - elsewhere == outcome.row_errors.keys() - elsewhere


def _pair(asked: _Asked) -> Pair:
    return Pair(asked.endpoint.name, asked.prediction.route.target.version, asked.shadow.target.version)


def _count(asked: _Asked, result: str) -> None:
    names.SHADOW_REQUESTS.labels(asked.endpoint.name, result).inc()


def _batch(waiting: deque[_Asked], target: Target) -> list[_Asked]:
    """Take the first of those that wait for `target`, as many as may be asked together; at least one."""
    batch: list[_Asked] = []
    rows = 0
    while waiting and waiting[0].shadow.target is target:
        rows += waiting[0].prediction.rows
        if batch and rows > MAX_BATCH_ROWS:
            break
        batch.append(waiting.popleft())
    return batch


def _example(asked: _Asked, outcome: Outcome, rows: list[int], index: int, difference: float) -> ShadowExample:
    """Return the row at `index` of the compared `rows` with what both versions made of it."""
    row, target = rows[index], asked.prediction.route.target
    values = {column.name: column.values for column in asked.call.entities}
    return ShadowExample(
        prediction_id=asked.prediction.prediction_id,
        row=row,
        difference=difference,
        entities=tuple((key, cast("str | int", values[key.name][row])) for key in target.keys),
        primary=_row(target, asked.prediction.outcome, row),
        shadow=_row(asked.shadow.target, outcome, row),
        as_of_us=asked.prediction.as_of_us,
    )


def _row(target: Target, outcome: Outcome, row: int) -> tuple[tuple[Output, npt.NDArray[np.generic]], ...]:
    """Return copies of a row's outputs, which do not keep the whole batch; no more of them than MAX_EXAMPLE_BYTES."""
    found = []
    left = MAX_EXAMPLE_BYTES
    for output, values in zip(target.outputs, outcome.outputs, strict=True):
        value = values[row : row + 1].copy()
        left -= bytes_of(value)
        if left < 0:
            break
        found.append((output, value))
    return tuple(found)
