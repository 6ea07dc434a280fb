from __future__ import annotations

import asyncio

import pytest

from services.model import clients
from services.model.clients import RuntimeReporter
from services.model.statuses import RuntimeStatus, State, StatusBoard
from tests.support.snapshots import scripted_registry
from tests.support.waiting import eventually

READY = RuntimeStatus("m", "1.0.0", "d", "onnx", State.READY, 0)


async def test_every_change_is_reported_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under one name for the life of the process; the registry forgets who is silent."""
    monkeypatch.setattr(clients, "_PERIOD_S", 0.02)
    (registry, stub), board = scripted_registry(), StatusBoard()
    reporting = asyncio.create_task(RuntimeReporter(stub, board).run())
    await eventually(lambda: len(registry.reports) >= 1)
    board.show([READY])
    await eventually(lambda: len(registry.reports) >= 4)
    reporting.cancel()
    assert [] == list(registry.reports[0].runtimes)
    assert "m" == registry.reports[-1].runtimes[0].model
    assert 1 == len({report.instance_id for report in registry.reports})


async def test_a_registry_that_is_down_is_told_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its outage ends no task."""
    monkeypatch.setattr(clients, "_PERIOD_S", 0.02)
    (registry, stub), board = scripted_registry(), StatusBoard()
    registry.down = True
    reporting = asyncio.create_task(RuntimeReporter(stub, board).run())
    board.show([READY])
    await asyncio.wait((reporting,), timeout=0.1)
    assert [] == registry.reports
    registry.down = False
    await eventually(lambda: len(registry.reports) >= 1)
    reporting.cancel()
