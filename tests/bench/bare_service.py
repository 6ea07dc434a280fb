"""A service without metrics and traces: what it saves is what they cost. Everything else is the same code."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from services.mesh import interceptors
from services.mesh.lifecycle import main
from services.mesh.methods import Method, StreamCall, UnaryCall
from services.mesh.telemetry.tracing import Tracing


class Silent:
    """Stands in for Telemetry: each call goes on as it is."""

    def __init__(self, tracing: Tracing) -> None:
        pass

    def unary(self, method: Method, call: UnaryCall) -> UnaryCall:
        """Return the call."""
        return call

    def stream(self, method: Method, call: StreamCall) -> StreamCall:
        """Return the call."""
        return call


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _silence() -> None:
    for metric, methods in {Counter: ["inc"], Gauge: ["inc", "dec", "set"], Histogram: ["observe"]}.items():
        for method in methods:
            setattr(metric, method, _nothing)
    vars(interceptors)["Telemetry"] = Silent


if __name__ == "__main__":
    name = sys.argv.pop(1)
    _silence()
    settings = importlib.import_module(f"services.{name}.settings").Settings
    main(settings, importlib.import_module(f"services.{name}.server").build)
