"""What is told of every prediction, off the caller's path: to those who count, compare and keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from services.gateway.prediction import Prediction
    from services.gateway.request import PredictCall
    from services.gateway.routing import Endpoint, Route
    from services.mesh.errors import MeshError


class Observer(Protocol):
    """Hears of requests once they are decided, and before the caller does: quick, and never raises.

    `seconds` is the time since the request arrived. A request that its caller has cancelled is not told of.
    """

    def answered(self, call: PredictCall, endpoint: Endpoint, prediction: Prediction, seconds: float) -> None:
        """Take note of an answer."""

    def failed(self, call: PredictCall, endpoint: Endpoint, route: Route, error: MeshError, seconds: float) -> None:
        """Take note of a request that was routed and then failed, by the caller's fault too."""
