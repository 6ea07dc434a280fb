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


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test leaves an error in the log: of a task, a future or a handler that nobody asked."""
    yield
    gc.collect()
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    # gRPC says this of any handler, its own too, that is still ending when the loop of the test does.
    assert [] == [error for error in errors if "not handled by _handle_exceptions" not in error]


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
