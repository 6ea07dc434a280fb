"""Processes hang: they keep their connections and answer nothing, until they go on where they were."""

from __future__ import annotations

import pytest

from tests.chaos.harness.faults import store_suspended, suspended
from tests.chaos.harness.stage import Stage, soak
from tests.chaos.harness.verdict import DEFINITIONS, PREDICTIONS, WRITES, Demands


@pytest.mark.parametrize("service", ["features", soak("model")])
async def test_one_of_two_hangs(stage: Stage, service: str) -> None:
    """It is found out, and the other one asked."""
    await stage.trial(lambda: suspended(stage.fleet.replicas(service)[0]), Demands(coping_s=2, nobody_answers=WRITES))


@pytest.mark.soak
async def test_one_gateway_hangs(stage: Stage) -> None:
    """The other one answers; its own callers hear nothing before it goes on."""
    await stage.trial(lambda: suspended(stage.fleet.gateways[0]), Demands(nobody_answers=PREDICTIONS))


@pytest.mark.parametrize("service", [soak("features"), "model"])
async def test_both_hang(stage: Stage, service: str) -> None:
    """Callers are told before their time is over, and whoever has a ladder is answered."""
    await stage.trial(lambda: suspended(*stage.fleet.replicas(service)), Demands(nobody_answers=WRITES))


@pytest.mark.soak
async def test_registry_hangs(stage: Stage) -> None:
    """No prediction fails."""
    await stage.trial(lambda: suspended(stage.fleet.registry), Demands(failures=0, nobody_answers=DEFINITIONS))


async def test_store_hangs(stage: Stage) -> None:
    """Values come from memory, and say so, before anybody's time is over."""
    await stage.trial(lambda: store_suspended(stage.fleet), Demands(failures=0))
