"""A server with the probe, and the log watched."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from services.mesh.exchange import client
from services.mesh.server import MeshServer
from tests.support.exchanging import new_answering
from tests.support.probe import Probe, new_probe, server

EXPECTED = (
    # gRPC says this of any handler, its own too, that is still ending when the loop of the test does,
    "not handled by _handle_exceptions",
    # and this of a method that a server of others does not have.
    "Unexpected [NotImplementedError] raised by servicer method",
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test leaves an error in the log: of a task, a future or a handler that nobody asked."""
    yield
    gc.collect()
    # In the teardown `records` are those of the teardown alone.
    records = [*caplog.get_records("call"), *caplog.records]
    errors = [record.getMessage() for record in records if record.levelno >= logging.ERROR]
    assert [] == [error for error in errors if not any(text in error for text in EXPECTED)]


@pytest.fixture
def probe() -> Probe:
    """The servicer that is called."""
    return new_probe()


@pytest.fixture
def answering() -> Probe:
    """The servicer that is called for large answers."""
    return new_answering()


@pytest.fixture
async def serving(probe: Probe) -> AsyncIterator[MeshServer]:
    """A server on a free port."""
    async with server(probe) as serving:
        yield serving


@pytest.fixture
def one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """All calls share one stream."""
    monkeypatch.setattr(client, "STREAMS", 1)
