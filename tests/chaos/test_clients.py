"""Callers who behave badly, and callers of whom there are too many: what they do to others."""

from __future__ import annotations

from tests.chaos.harness.clients import slow_readers, storm
from tests.chaos.harness.stage import Stage
from tests.chaos.harness.verdict import Demands


async def test_connection_storm(stage: Stage) -> None:
    """Hundreds of connections that come, say nothing or nonsense, and go, cost others no answer, and little memory."""
    await stage.trial(lambda: storm(stage.fleet.gateways[0]), Demands(failures=0))


async def test_slow_readers(stage: Stage) -> None:
    """Callers who ask without reading the answers are made to wait, and cost others no answer, and little memory."""
    # What they ask for goes downstream, too, as far as it is taken from them.
    demands = Demands(failures=0, downstream=2)
    await stage.trial(lambda: slow_readers(stage.fleet, stage.ground), demands)
