"""Logs are JSON, one object a line, found again by the ids of the call."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from services.mesh import context as calls
from services.mesh.context import CallContext
from services.mesh.telemetry.logs import JsonFormatter

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def call() -> Iterator[CallContext]:
    """The call in which the test runs."""
    call = CallContext("order-66", TRACE, SPAN, sampled=False)
    token = calls.use(call)
    yield call
    calls.reset(token)


def logged(message: str, *arguments: object, error: Exception | None = None, **extra: Any) -> dict[str, Any]:
    """Return a line as it is written."""
    cause = None if error is None else (type(error), error, error.__traceback__)
    logger = logging.getLogger("services.probe")
    line = JsonFormatter("probe").format(
        logger.makeRecord(logger.name, logging.WARNING, "f", 1, message, arguments, cause, extra=extra)
    )
    assert "\n" not in line
    entry: dict[str, Any] = json.loads(line)
    return entry


def test_line_has_the_call(call: CallContext) -> None:
    """A line written in a call carries its trace and request id, and what was given with it."""
    entry = logged("version %s", "1.0.0", model="m", rows=3)
    entry.pop("time")
    assert {
        "level": "warning",
        "service": "probe",
        "logger": "services.probe",
        "message": "version 1.0.0",
        "trace_id": TRACE,
        "request_id": "order-66",
        "model": "m",
        "rows": 3,
    } == entry


def test_line_outside_of_a_call() -> None:
    """A line written outside has no ids."""
    assert {"time", "level", "service", "logger", "message"} == set(logged("started"))


def test_what_json_cannot_hold_is_written_as_text() -> None:
    """No value given with a line can break it."""
    entry = logged("odd", where=logging, data=b"bytes", number=2**70)
    assert ("b'bytes'", 2**70) == (entry["data"], entry["number"])
    assert entry["where"].startswith("<module")


def test_exception_is_one_line() -> None:
    """A traceback travels inside the object."""
    assert "ValueError: cause" in logged("failed", error=ValueError("cause"))["exception"]
