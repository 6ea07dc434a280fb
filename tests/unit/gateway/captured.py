"""A prediction with everything that the model got: stored values, too old ones, none, and the request's own."""

from __future__ import annotations

from services.gateway.prediction import NOT_STORED, FeatureState, Prediction
from tests.support.predictions import StoredRow, call, column, snapshot, version, view
from tests.unit.gateway.world import World

RIDER = view("rider", "a:FP32", "n:INT64", "path:FP32:2", "name:BYTES")
BOUND = {
    "x:FP32:5": ["rider:a", "rider.age", "hour", "rider:path"],
    "n:INT64": ["rider:n"],
    "again:FP32": ["rider:a"],
    "name:BYTES": ["rider:name"],
    "box:FP32:2:2": ["box"],
}
ROWS: dict[object, StoredRow] = {
    "known": StoredRow({"rider:a": 1.0, "rider:n": 3, "rider:path": [4.0, 5.0], "rider:name": b"ann"}, {"rider": 9}),
    "stale": StoredRow({"rider:a": 7.0}, {"rider": 8_000_000}, {"rider": FeatureState.STALE_DEFAULTED}),
    "absent": StoredRow({"rider:a": None}, {"rider": NOT_STORED}, {"rider": FeatureState.ABSENT}),
}


async def explained(*riders: str) -> Prediction:
    """Return the prediction of riders with what the model got."""
    world = World(ROWS)
    world.flow.use(world.tables.build(snapshot(RIDER, versions=[version(BOUND)])))
    rows = len(riders)
    features = [
        column("hour", *[9.0] * rows),
        column("box", *[0.5] * 4 * rows),
        column("rider:n", *[6] * rows, nulls=[0]),
    ]
    return await world.flow.run(call(column("rider_id", *riders), features=features, explain=True))
