"""What a hop has seen of one replica, and whether it is asked for that."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from services.mesh.errors import DeadlineExceeded, MeshError, UpstreamUnavailable
from services.mesh.replicas import Connection
from services.mesh.resilience.breaker import SHARE, Breaker
from services.mesh.resilience.recovery import Recovery
from services.mesh.target import is_name
from services.mesh.telemetry import names

logger = logging.getLogger(__name__)
# Behind a name others may be well: only what fails nearly always is not asked at all.
SHARE_OF_NAME = 0.9
# Two calls that met with so long a silence say enough: each more would cost its caller all of his time.
CERTAIN_S = 1.0


class ReplicaBreaker(Breaker):
    """The breaker of a replica. Failures are that it cannot be reached, and that it is silent: it has answered nobody.

    What a replica answers, were it an error, speaks for it; callers who leave say nothing. One in the same process, which
    has no probe, is always asked. `on_change` is called with 1 when the breaker opens, with -1 when it closes.
    """

    def __init__(self, hop: str, connection: Connection[Any], on_change: Callable[[int], None]) -> None:
        super().__init__(share=SHARE_OF_NAME if is_name(connection.address) else SHARE)
        self._labels = (hop, connection.address)
        self._on_change = on_change
        self._recovery = None if connection.probe is None else Recovery(self, connection.probe)
        self._connection = connection
        self._unanswered = 0
        if self._recovery is not None:
            names.BREAKER_OPEN.labels(*self._labels).set(0)

    def lets_through(self) -> bool:
        """Say whether calls may go there."""
        return self.closed

    def retry_after_s(self) -> float:
        """Return the seconds until the next probe, after which calls may go there; 0 if they may now."""
        return 0.0 if self.closed or self._recovery is None else self._recovery.next_in_s()

    def asked(self, now: float) -> None:
        """Note a call that is sent."""
        if not self._connection.silent_since:
            self._connection.silent_since = now

    def answered(self) -> None:
        """Note an answer."""
        self._connection.silent_since = 0.0
        self._unanswered = 0
        self.succeeded()

    def ended(self, error: MeshError, ample_s: float) -> None:
        """Note a call that ended in `error`; `ample_s` is a time in which a replica that is well has answered something."""
        if isinstance(error, DeadlineExceeded):
            self.unanswered(ample_s)
        elif isinstance(error, UpstreamUnavailable):
            self._count(error.message)
        else:
            self.answered()

    def unanswered(self, ample_s: float) -> None:
        """Note a call whose time was over before it was answered."""
        silent_s = time.monotonic() - self._connection.silent_since
        if self._connection.silent_since and silent_s >= ample_s:
            self._unanswered += 1
            certain = self._unanswered > 1 and silent_s >= max(CERTAIN_S, ample_s)
            self._count(f"silent for {silent_s:.3f} s", certain=certain)

    async def stop(self) -> None:
        """End what goes on in the background."""
        if self._recovery is not None:
            await self._recovery.stop()

    def close(self) -> None:
        """Let calls go there again."""
        super().close()
        self._connection.silent_since = 0.0
        self._unanswered = 0
        self._on_change(-1)
        names.BREAKER_OPEN.labels(*self._labels).set(0)
        logger.info("the circuit breaker closed", extra=self._extra())

    def _count(self, cause: str, *, certain: bool = False) -> None:
        if self._recovery is None or not self.failed(certain=certain):
            return
        self._on_change(1)
        names.BREAKER_OPEN.labels(*self._labels).set(1)
        names.BREAKER_OPENED.labels(*self._labels).inc()
        logger.warning("the circuit breaker opened", extra={**self._extra(), "cause": cause})
        self._recovery.start()

    def _extra(self) -> dict[str, str]:
        return dict(zip(("hop", "replica"), self._labels, strict=True))
