"""What the gateway tells the registry of its traffic: totals, again and again, so that no report matters by itself."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from services.mesh.errors import MeshError

if TYPE_CHECKING:
    from services.gateway.agreement import ShadowTotals
    from services.gateway.traffic import ArmTotals

logger = logging.getLogger(__name__)
INTERVAL_S = 1.0
TIMEOUT_S = 2.0
# Pairs of versions in one report: no callers are answered while one is encoded.
MAX_SHADOWS = 8

T = TypeVar("T")


class Changes(Protocol[T]):
    """Totals since the process started, some of which change."""

    def changed(self) -> Sequence[T]:
        """Return the totals that have changed since they were taken, as they are now; they are not changed later."""

    def taken(self, totals: Sequence[T]) -> None:
        """Note that the registry has these; what has changed since is still to be told."""


class Registry(Protocol):
    """The registry, as the reporter calls it."""

    async def report(
        self, instance_id: str, sequence: int, arms: Sequence[ArmTotals], shadows: Sequence[ShadowTotals],
        *, timeout_s: float,
    ) -> None:  # fmt: skip
        """Replace what the registry has of this process by these totals; raises a MeshError if it does not answer so."""


class Reporter:
    """Reports what has changed about every `interval_s` while the context lasts, and once more at its end.

    What the registry did not take is reported with what has changed until then. Callers never wait for any of it.
    """

    def __init__(
        self,
        registry: Registry,
        arms: Changes[ArmTotals],
        shadows: Changes[ShadowTotals],
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._registry = registry
        self._arms = arms
        self._shadows = shadows
        self._interval_s = interval_s
        self._instance_id = uuid.uuid4().hex
        self._sequence = 0
        self._taken = True

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.report()

    async def _run(self) -> None:
        while True:
            # Not all gateways at once.
            await asyncio.sleep(self._interval_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            await self.report()

    async def report(self) -> None:
        """Report what has changed, if anything has; what fails is logged when it begins to fail."""
        arms = self._arms.changed()
        if arms:
            if not await self._told(arms, ()):
                return
            self._arms.taken(arms)
        # By themselves, since they are larger: nothing about them may hold up the evidence of releases.
        shadows = self._shadows.changed()
        for start in range(0, len(shadows), MAX_SHADOWS):
            part = shadows[start : start + MAX_SHADOWS]
            if not await self._told((), part):
                return
            self._shadows.taken(part)

    async def _told(self, arms: Sequence[ArmTotals], shadows: Sequence[ShadowTotals]) -> bool:
        """Report, and return whether the registry has taken it."""
        self._sequence += 1
        try:
            await self._registry.report(self._instance_id, self._sequence, arms, shadows, timeout_s=TIMEOUT_S)
        except MeshError as error:
            if self._taken:
                logger.warning("traffic is not reported", extra={"cause": repr(error)})
            self._taken = False
        except Exception:
            logger.exception("traffic cannot be reported")
        else:
            self._taken = True
            return True
        return False
