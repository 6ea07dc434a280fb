"""Services are restarted one process after the other, as a new release of them would be brought out."""

from __future__ import annotations

import pytest

from tests.chaos.harness.faults import replaced
from tests.chaos.harness.stage import Stage, soak
from tests.chaos.harness.verdict import DEFINITIONS, Demands


@pytest.mark.slow
@pytest.mark.parametrize("service", [soak("features"), "model", "gateway"])
async def test_replicas_are_replaced(stage: Stage, service: str) -> None:
    """No call fails: each one ends where it began, or begins where it can end."""
    await stage.trial(lambda: replaced(stage.fleet.replicas(service)), Demands(failures=0), fault_s=0)


async def test_registry_is_replaced(stage: Stage) -> None:
    """There is one of it. Definitions wait, and no prediction fails."""
    demands = Demands(failures=0, nobody_answers=DEFINITIONS)
    await stage.trial(lambda: replaced([stage.fleet.registry]), demands, fault_s=0)
