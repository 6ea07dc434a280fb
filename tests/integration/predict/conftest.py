"""What the predictions of this folder are about: riders, their trips, and models that show what they were given."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.support.onnx_models import linear, reciprocal
from tests.worlds.loop import share_loop
from tests.worlds.models import echo
from tests.worlds.resources import field, view
from tests.worlds.sandbox import Sandbox

RIDER = {"rider_id": "STRING"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in the loop of the mesh."""
    share_loop(items, __file__)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def riders(own: Sandbox) -> Sandbox:
    """A view of riders: two floats, one of them without a default. Endpoint `ride` shows both, the age and an hour."""
    await own.view(view("rider", field("trips", default=1.5), field("rating"), entity="rider", keys=RIDER))
    sources = ["rider:trips", "rider:rating", "rider.age", "request:hour"]
    await own.serve("ride", echo(x=("FP32", (4,))), {"x": sources})
    return own


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def trips(own: Sandbox) -> Sandbox:
    """Endpoint `trip`: two key columns; a float that must be finite, a list and an integer from the request."""
    await own.view(
        view(
            "trip",
            field("fare"),
            field("stops", "INT64", 0),
            entity="trip",
            keys={"rider_id": "STRING", "number": "INT64"},
        )
    )
    model = echo(x=("FP32", (1,)), path=("FP32", (2,)), n=("INT64", (2,)))
    await own.serve("trip", model, {"x": ["trip:fare"], "path": ["request:path"], "n": ["trip:stops", "request:count"]})
    await own.serve("finite", reciprocal(), {"x": ["request:x"]})
    await own.serve("hour", linear(1.0, width=1), {"x": ["request:hour"]})
    await own.write("trip", {"rider_id": ["a"], "number": [1]}, {"fare": [1.0], "stops": [2]})
    return own
