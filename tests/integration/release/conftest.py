"""Versions to release, of a model that says which it is."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.support.onnx_models import linear
from tests.worlds.loop import share_loop
from tests.worlds.resources import field, view
from tests.worlds.sandbox import Sandbox

RIDER = {"rider_id": "STRING"}
SCALES = {"1.0.0": 1.0, "1.1.0": 2.0, "2.0.0": 3.0}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in the loop of the mesh."""
    share_loop(items, __file__)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scaled(own: Sandbox) -> Sandbox:
    """A model of a rider's trips, 1 unless stored: 1.0.0 answers them, 1.1.0 twice and 2.0.0 three times as many."""
    await own.view(view("rider", field("trips", default=1.0), entity="rider", keys=RIDER))
    await own.model("scale")
    for number, scale in SCALES.items():
        await own.register("scale", number, linear(scale, width=1), {"x": ["rider:trips"]})
        await own.until_runtime("scale", number)
    return own
