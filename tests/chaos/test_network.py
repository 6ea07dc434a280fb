"""The network is slow, loses what it carries, parts, resets, or forgets."""

from __future__ import annotations

import pytest

from tests.chaos.harness.faults import forgotten, parted, reset, weather
from tests.chaos.harness.stage import Stage, soak
from tests.chaos.harness.verdict import Demands
from tests.support.link import Weather

SLOW = Weather(delay_s=0.04, jitter_s=0.02)
LOSSY = Weather(loss=0.03)


@pytest.mark.parametrize("service", [soak("features"), soak("model"), "store"])
async def test_slow(stage: Stage, service: str) -> None:
    """Forty milliseconds each way cost time, and no answer."""
    await stage.trial(lambda: weather(stage.fleet.links_to(service), SLOW), Demands(failures=0))


@pytest.mark.parametrize("service", [soak("features"), "model", soak("store")])
async def test_lossy(stage: Stage, service: str) -> None:
    """What TCP has to send again is late; calls that had time for it are answered, and all others are told why not."""
    await stage.trial(lambda: weather(stage.fleet.links_to(service), LOSSY))


@pytest.mark.parametrize("service", [soak("features"), "model"])
async def test_one_of_two_is_out_of_reach(stage: Stage, service: str) -> None:
    """It is found out, and the other one asked."""
    await stage.trial(lambda: parted(stage.fleet.links[f"{service}-1"]), Demands(coping_s=2))


@pytest.mark.parametrize("service", ["features", soak("model"), soak("store")])
async def test_out_of_reach(stage: Stage, service: str) -> None:
    """As if it hung, and whoever connects meanwhile hears nothing either."""
    await stage.trial(
        lambda: parted(*stage.fleet.links_to(service)), Demands(failures=0 if service == "store" else None)
    )


@pytest.mark.soak
async def test_registry_is_out_of_reach(stage: Stage) -> None:
    """No prediction fails."""
    await stage.trial(lambda: parted(*stage.fleet.links_to("registry")), Demands(failures=0))


@pytest.mark.parametrize("service", [soak("features"), "model", soak("store")])
async def test_connections_are_reset(stage: Stage, service: str) -> None:
    """Calls under way are asked again, elsewhere or over a new connection, as far as the budget goes."""
    await stage.trial(lambda: reset(stage.fleet.links_to(service), every_s=0.5))


@pytest.mark.parametrize("service", ["features", soak("model"), soak("store")])
async def test_connections_are_forgotten(stage: Stage, service: str) -> None:
    """Nothing says that a connection leads nowhere any more, but that nothing comes back."""
    await stage.trial(lambda: forgotten(*stage.fleet.links_to(service)))
