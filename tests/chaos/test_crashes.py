"""Processes die as a crash has them die, and are started again."""

from __future__ import annotations

import pytest

from tests.chaos.harness.faults import killed, store_killed
from tests.chaos.harness.stage import Stage, soak
from tests.chaos.harness.verdict import DEFINITIONS, PREDICTIONS, WRITES, Demands


@pytest.mark.parametrize("service", [soak("features"), "model"])
async def test_one_of_two_dies(stage: Stage, service: str) -> None:
    """The other one takes over: what was under way is asked again."""
    await stage.trial(lambda: killed(stage.fleet.replicas(service)[0]), Demands(coping_s=2, nobody_answers=WRITES))


async def test_one_gateway_dies(stage: Stage) -> None:
    """Only calls that were at it fail; nobody is left to say why."""
    await stage.trial(lambda: killed(stage.fleet.gateways[0]), Demands(coping_s=2, nobody_answers=PREDICTIONS))


@pytest.mark.parametrize("service", ["features", soak("model")])
async def test_both_die(stage: Stage, service: str) -> None:
    """Every failure has a reason, whoever has a ladder is answered, and nobody calls more often for it."""
    await stage.trial(lambda: killed(*stage.fleet.replicas(service)), Demands(nobody_answers=WRITES))


async def test_registry_dies(stage: Stage) -> None:
    """No prediction fails, and no definition that was acknowledged is gone."""
    await stage.trial(lambda: killed(stage.fleet.registry), Demands(failures=0, nobody_answers=DEFINITIONS))


async def test_store_dies(stage: Stage) -> None:
    """What it had acknowledged is in its append-only file; meanwhile values come from memory, and say so."""
    await stage.trial(lambda: store_killed(stage.fleet), Demands(failures=0))
