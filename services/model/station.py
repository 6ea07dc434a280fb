"""A version on one runtime: what stands there, what it costs, and whether it is well."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from services.mesh import context as contexts
from services.mesh.errors import MeshError, Reason
from services.mesh.resilience.breaker import Breaker
from services.model.calls import Source
from services.model.cost import BatchCost
from services.model.counters import BatchCounters
from services.model.datatypes import Array
from services.model.golden import Verdict
from services.model.runtimes import LoadedModel
from services.model.statuses import GoldenState
from services.model.versions import Placement
from services.model.warmup import blank_rows, warm_up

logger = logging.getLogger(__name__)

Prove: TypeAlias = Callable[[LoadedModel], Awaitable[Verdict]]

# What a batch may be elsewhere ends so much earlier, a share of it and no less than seconds: a process that has to notice
# that may be busy just then.
_MARGIN, _MARGIN_S = 0.05, 0.002
# A runtime that nobody has asked for so long is looked at: what a restart has lost is there again before the next call.
_LOOK_S = 5.0
_RECOVERY_S = (0.2, 1.0)
_PROBE_S = 5.0
# Batches at one runtime are few and large, so that a few failures tell enough.
FAILURES = 3
# Estimates that nothing has confirmed for so long are not believed while the runtime is idle: after one stall the next
# batch would seem hopeless for ever.
_BELIEVED_S = 1.0


class Place:
    """A batch at the runtime. It is computed from `began` on; None while it stands behind others."""

    __slots__ = ("began", "rows")

    def __init__(self, rows: int, began: float | None) -> None:
        self.rows, self.began = rows, began


class Station:
    """Sends batches to one runtime, learns from them, and brings the runtime back when it fails.

    `prove` asks a model for the version's golden outputs. `on_health` is called with "" when it is well again, and with
    the reason when it is not well any more; `on_golden` when `golden` has changed.
    """

    def __init__(self, placement: Placement, model: LoadedModel, prove: Prove | None = None) -> None:
        self.placement = placement
        self.runtime = placement.artifact.runtime
        self.model = model
        self.source = Source(self.runtime)
        self.cost = BatchCost()
        self.counters = BatchCounters()
        self.breaker = Breaker(least=FAILURES)
        self.trouble = ""
        """Why it is not well, as a degradation: RUNTIME_FAILED or RUNTIME_SLOW. What it was last, while it is well."""
        self.golden = Verdict()
        self.on_health: Callable[[str], None] = _ignore
        self.on_golden: Callable[[], None] = _nothing
        self._prove = prove
        self._standing: list[Place] = []
        self._learnt_at = 0.0
        self._recovery: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def well(self) -> bool:
        """Whether batches may go there."""
        return self.breaker.closed

    @property
    def idle(self) -> bool:
        """Whether nothing stands there."""
        return not self._standing

    @property
    def busy(self) -> bool:
        """Whether a batch that is sent now would stand behind others."""
        return len(self._standing) >= self.model.parallel

    async def warm(self, most_rows: int) -> None:
        """Run the first batches, then the golden set; raises RuntimeFailed or InvalidOutput, as warm_up."""
        await warm_up(self.model, self.placement.version.signature, most_rows, self.cost.learn)
        await self._judge()
        self._learnt_at = time.monotonic()
        self._watch = asyncio.create_task(self._look(), name=f"look at {self.placement}")

    def room_in_s(self, now: float) -> float | None:
        """Say in how many seconds there is room for a batch: 0 is now, None when one that stands there has to end."""
        behind = len(self._standing) - self.model.parallel
        if behind < 0:
            return 0.0
        if behind >= self.model.ahead:
            return None
        # Just in time for the runtime not to wait: until then more rows, or more urgent ones, may come.
        return max(0.0, self.starts_in_s(now) - self.cost.fixed_s) if self.cost.known else 0.0

    def starts_in_s(self, now: float, place: Place | None = None) -> float:
        """Say in how many seconds a batch that is sent now, or one that has its place, would begin to be computed."""
        before = self._standing if place is None else self._standing[: self._standing.index(place)]
        if len(before) < self.model.parallel:
            return 0.0
        left = [self._left_s(other.rows, now - other.began) for other in before if other.began is not None]
        behind = sum(self.cost.expect_s(other.rows) for other in before if other.began is None)
        return min(left, default=0.0) + behind / self.model.parallel

    def spare_s(self, due: float, rows: int, now: float) -> float:
        """Say for how long a batch may be elsewhere and still be computed here when it is due."""
        left_s = due - now
        return left_s - max(_MARGIN_S, _MARGIN * left_s) - self.starts_in_s(now) - self.cost.surely_s(rows)

    def _left_s(self, rows: int, passed_s: float) -> float:
        """Say how much longer a batch takes that has been computed for a while."""
        left_s = self.cost.expect_s(rows) - passed_s
        # The longer one is overdue, the longer it will still be: a runtime that hangs does not end soon.
        return left_s if left_s > 0 else max(0.0, passed_s - self.cost.likely_s(rows))

    def believes(self, now: float) -> bool:
        """Whether its estimates may be used to refuse rows."""
        return self.cost.known and (bool(self._standing) or now - self._learnt_at < _BELIEVED_S)

    def enter(self, rows: int) -> Place:
        """Take a place for a batch that is about to be sent."""
        place = Place(rows, time.monotonic() if len(self._standing) < self.model.parallel else None)
        self._standing.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Give a place back; nothing if it was given back before."""
        if place not in self._standing:
            return
        self._standing.remove(place)
        last = self.model.parallel - 1
        if len(self._standing) > last and self._standing[last].began is None:
            # It began when this one ended: what it takes from now on is what it costs.
            self._standing[last].began = time.monotonic()

    async def compute(self, place: Place, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
        """Compute a batch, learn from it and give its place back; raises what LoadedModel.infer does."""
        sent = time.monotonic()
        try:
            outputs = await self.model.infer(inputs, timeout_s)
        except MeshError as error:
            self.counters.failed[error.reason] = self.counters.failed.get(error.reason, 0) + 1
            raise
        else:
            now = self._learnt_at = time.monotonic()
            self.counters.computed(place.rows, int((now - sent) * 1e9))
            self.cost.learn(place.rows, now - (sent if place.began is None else max(sent, place.began)))
            self.breaker.succeeded()
            return outputs
        finally:
            self.leave(place)

    def failed(self, trouble: str, error: MeshError) -> None:
        """Note that a batch was not answered through no fault of its rows."""
        self.trouble = trouble
        certain = error.reason is Reason.UPSTREAM_UNAVAILABLE
        if self.breaker.failed(certain=certain) and self._recovery is None:
            logger.warning("runtime failing", extra={"version": str(self.placement), "reason": error.message})
            self.on_health(error.message)
            self._recovery = asyncio.create_task(self._recover(), name=f"recover {self.placement}")

    async def answers(self, timeout_s: float) -> bool:
        """Whether it computes a row of zeros: if so, what failed before failed by its values."""
        try:
            await self.model.infer(blank_rows(self.placement.version.signature, 1), min(timeout_s, _PROBE_S))
        except MeshError:
            return False
        return True

    async def close(self) -> None:
        """Close the model. Nothing may stand there, and nothing may come."""
        tasks = [task for task in (self._watch, self._recovery) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.model.close()

    async def _judge(self) -> None:
        """Have the golden set run, and tell what has changed by that."""
        if self._prove is None:
            return
        before, self.golden = self.golden, await self._prove(self.model)
        if (self.golden.state, self.golden.message) == (before.state, before.message):
            return
        extra = {"version": str(self.placement), "reason": self.golden.message}
        if self.golden.state is GoldenState.FAILED:
            logger.warning("golden set failed", extra=extra)
        elif before.state is GoldenState.FAILED:
            logger.info("golden set passed after all", extra=extra)
        self.on_golden()

    async def _look(self) -> None:
        """Now and then bring back what an idle runtime has lost, or note that it is away."""
        contexts.use(None)
        while True:
            await asyncio.sleep(_LOOK_S * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            if not self.well:
                continue
            try:
                if not self.golden.final:
                    await self._judge()
                if time.monotonic() - self._learnt_at >= _LOOK_S:
                    await self.model.revive()
            except MeshError as error:
                self.failed("RUNTIME_FAILED", error)
            except Exception:
                logger.exception("runtime not looked at", extra={"version": str(self.placement)})

    async def _recover(self) -> None:
        """Bring the runtime back, try it, and let batches go there again."""
        # It outlives the call that found the failure, and its logs are not that call's.
        contexts.use(None)
        wait_s, most_s = _RECOVERY_S
        while True:
            # Pods that failed together do not come back together.
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            wait_s = min(most_s, wait_s * 2)
            self.breaker.probing()
            if await self._revived():
                break
            self.breaker.still_failing()
        self._recovery = None
        self.breaker.close()
        logger.info("runtime well again", extra={"version": str(self.placement)})
        self.on_health("")

    async def _revived(self) -> bool:
        try:
            await self.model.revive()
            await warm_up(self.model, self.placement.version.signature, 1, self.cost.learn, _PROBE_S)
        except MeshError as error:
            logger.debug("runtime still failing", extra={"version": str(self.placement), "reason": error.message})
            return False
        except Exception:
            logger.exception("runtime not revived", extra={"version": str(self.placement)})
            return False
        self._learnt_at = time.monotonic()
        # It may be another release of the runtime that has come back: the next look sees whether it still passes.
        self.golden = replace(self.golden, final=False)
        return True


def _ignore(reason: str) -> None:
    """Nobody has asked to be told."""


def _nothing() -> None:
    """Nor of this."""
