"""What is told of every prediction, off the caller's path: to those who count, compare and keep."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from services.gateway.prediction import Prediction
    from services.gateway.request import PredictCall
    from services.gateway.routing import Endpoint, Route
    from services.mesh.errors import MeshError

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Hears of requests once they are decided, and before the caller does: so it must be quick.

    `seconds` is the time since the request arrived. A request that its caller has cancelled is not told of.
    """

    def answered(self, call: PredictCall, endpoint: Endpoint, prediction: Prediction, seconds: float) -> None:
        """Take note of an answer."""

    def failed(self, call: PredictCall, endpoint: Endpoint, route: Route, error: MeshError, seconds: float) -> None:
        """Take note of a request that was routed and then failed, by the caller's fault too."""


class Observers:
    """Several observers as one. A fault of theirs is logged, and is no fault of the request."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def answered(self, call: PredictCall, endpoint: Endpoint, prediction: Prediction, seconds: float) -> None:
        """Tell all."""
        for observer in self._observers:
            try:
                observer.answered(call, endpoint, prediction, seconds)
            except Exception:
                logger.exception("an answer could not be observed", extra={"endpoint": call.endpoint})

    def failed(self, call: PredictCall, endpoint: Endpoint, route: Route, error: MeshError, seconds: float) -> None:
        """Tell all."""
        for observer in self._observers:
            try:
                observer.failed(call, endpoint, route, error, seconds)
            except Exception:
                logger.exception("a failure could not be observed", extra={"endpoint": call.endpoint})
