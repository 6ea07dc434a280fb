"""More callers come than can be answered."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.harness.book import Book
from tests.chaos.harness.faults import weather
from tests.chaos.harness.fleet import Layout, fleet
from tests.chaos.harness.ground import prepared
from tests.chaos.harness.stage import Stage
from tests.chaos.harness.trial import Pace
from tests.support.link import Weather

BURST = 10
# Gateways take so few predictions at once, and each takes so long meanwhile, that there is room for a part of the burst on
# any machine: 320 of a thousand a second. At other times a prediction takes a few milliseconds, and one is under way.
# What a machine that stalled has to refuse at once is refused by the gateway, too, and not by gRPC without a reason.
ROOM = {"PREDICTMESH_GATEWAY_MAX_PREDICTIONS": "16", "PREDICTMESH_GATEWAY_MAX_REFUSALS_PER_S": "5000"}
SLOW = Weather(delay_s=0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def narrow(tmp_path_factory: pytest.TempPathFactory, pace: Pace, book: Book) -> AsyncIterator[Stage]:
    """A fleet whose gateways have little room."""
    layout = Layout(variables={"gateway": ROOM})
    async with fleet(tmp_path_factory.mktemp("chaos"), layout) as made, prepared(made) as ground:
        yield Stage(made, ground, pace, book)


async def test_burst(narrow: Stage) -> None:
    """Those that cannot be answered are refused and told when to come back, urgent ones last; it is over when it is over."""
    verdict = await narrow.trial(lambda: weather(narrow.fleet.links_to("model"), SLOW), burst=BURST)
    shed = verdict.shed
    assert shed.refused
    assert not shed.untold
    assert shed.urgent_part <= shed.other_part
