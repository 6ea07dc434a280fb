"""The main path: keys in, stored values to the model, its answer out, with provenance."""

from __future__ import annotations

import time

import pytest

from predictmesh.gateway.v1 import provenance_pb2 as provenance
from tests.worlds.models import echo
from tests.worlds.resources import field, tensor, values, view
from tests.worlds.sandbox import NOON_US, Sandbox

SECOND_US = 1_000_000


async def test_one_row(riders: Sandbox) -> None:
    """The model gets what is stored, the age at as_of, and what the request brings, in the order of the binding."""
    await riders.write("rider", {"rider_id": ["one"]}, {"trips": [12.0], "rating": [4.5]}, at_us=NOON_US)
    answer = await riders.predict(
        "ride", {"rider_id": ["one"]}, {"hour": [7.0]}, as_of_us=NOON_US + 90 * SECOND_US + 250_000
    )
    (output,) = answer.outputs
    assert (output.name, list(output.shape), values(output)) == ("x_seen", [1, 4], [12.0, 4.5, 90.25, 7.0])
    assert not answer.row_errors
    assert answer.prediction_id


async def test_256_rows(riders: Sandbox) -> None:
    """Rows come back in the order of the request, each with its own values."""
    keys = [f"many-{row}" for row in range(256)]
    await riders.write("rider", {"rider_id": keys}, {"trips": [float(row) for row in range(256)]})
    asked = keys[::-1]
    answer = await riders.predict("ride", {"rider_id": asked}, {"hour": [float(row) for row in range(256)]})
    seen = values(answer.outputs[0])
    assert [float(row) for row in reversed(range(256))] == seen[0::4]
    assert [float(row) for row in range(256)] == seen[3::4]
    assert 256 == answer.provenance.batch_rows


async def test_the_same_key_twice(riders: Sandbox) -> None:
    """Rows are independent, so a key may repeat."""
    await riders.write("rider", {"rider_id": ["twin"]}, {"trips": [3.0]})
    answer = await riders.predict("ride", {"rider_id": ["twin", "twin"]}, {"hour": [1.0, 2.0]})
    assert [3.0, 3.0] == values(answer.outputs[0])[0::4]
    assert [1.0, 2.0] == values(answer.outputs[0])[3::4]


async def test_provenance_is_complete(riders: Sandbox) -> None:
    """An answer says by which version, why, from how old features, when, and where its time went."""
    await riders.write("rider", {"rider_id": ["p", "q"]}, {"trips": [1.0, 1.0]}, at_us=[NOON_US, NOON_US - 5_000_000])
    answer = await riders.predict("ride", {"rider_id": ["p", "q"]}, {"hour": [0.0, 0.0]}, as_of_us=NOON_US + 1_999)
    told = answer.provenance
    assert (riders.full("ride"), "1.0.0", "onnx") == (told.model, told.version, told.runtime)
    assert provenance.ROUTE_REASON_ENDPOINT_VERSION == told.route_reason
    assert NOON_US + 1_999 == told.as_of.ToMicroseconds()
    assert [(riders.full("rider"), 5_001)] == [(each.view, each.oldest_age_ms) for each in told.views]
    assert ["queue", "features", "model"] == [hop.name for hop in told.hops]
    assert 2 == told.batch_rows
    assert 32 == len(told.trace_id)
    assert told.snapshot_revision > 0
    assert not told.degradations


async def test_without_as_of_it_is_now(riders: Sandbox) -> None:
    """A request without a time is answered as of its arrival."""
    before = time.time_ns() // 1000
    await riders.write("rider", {"rider_id": ["now"]}, {"trips": [1.0]}, at_us=before)
    answer = await riders.predict("ride", {"rider_id": ["now"]}, {"hour": [0.0]}, as_of_us=None)
    after = time.time_ns() // 1000
    assert before <= answer.provenance.as_of.ToMicroseconds() <= after
    age_s = values(answer.outputs[0])[2]
    assert age_s == pytest.approx((answer.provenance.as_of.ToMicroseconds() - before) / 1e6)


async def test_every_kind_of_input(own: Sandbox) -> None:
    """Text, integers, doubles and lists reach the model as they were stored; several views and entities meet in it."""
    await own.view(
        view(
            "trip",
            field("city", "BYTES"),
            field("stops", "INT64"),
            field("price", "FP64"),
            field("path", "FP32", length=3),
            field("words", "BYTES", length=2),
            entity="trip",
            keys={"rider_id": "STRING", "number": "INT64"},
        )
    )
    await own.view(view("driver", field("grade", "INT64"), entity="driver", keys={"driver_id": "INT64"}))
    kinds = echo(
        text=("BYTES", (3,)), whole=("INT64", (2,)), double=("FP64", ()), path=("FP32", (4,)), flag=("BOOL", (1,))
    )
    sources = {
        "text": ["trip:words", "trip:city"],
        "whole": ["trip:stops", "driver:grade"],
        "double": ["trip:price"],
        "path": ["trip:path", "driver.age"],
        "flag": ["request:late"],
    }
    await own.serve("kinds", kinds, sources)
    trip = {"rider_id": ["ä"], "number": [-(2**63)]}
    stored = {
        "city": ["Zürich"],
        "stops": [2**53 + 1],
        "price": tensor("price", [0.1], "doubles"),
        "path": [[1.0, 2.0, 3.0]],
        "words": [["", "b c"]],
    }
    await own.write("trip", trip, stored)
    await own.write("driver", {"driver_id": [7]}, {"grade": [-3]}, at_us=NOON_US - SECOND_US)
    answer = await own.predict("kinds", {"number": [-(2**63)], "driver_id": [7], "rider_id": ["ä"]}, {"late": [True]})
    assert {
        "text_seen": ["", "b c", "Zürich"],
        "whole_seen": [2**53 + 1, -3],
        "double_seen": [0.1],
        "path_seen": [1.0, 2.0, 3.0, 1.0],
        "flag_seen": [True],
    } == {output.name: values(output) for output in answer.outputs}
    assert [own.full("trip"), own.full("driver")] == sorted(
        (each.view for each in answer.provenance.views), reverse=True
    )


async def test_a_model_of_the_request_alone(own: Sandbox) -> None:
    """A model that takes nothing from the store needs no keys, and the features say how many rows there are."""
    await own.serve("alone", echo(x=("FP32", (2,))), {"x": ["request:a", "request:b"]})
    answer = await own.predict("alone", {}, {"b": [4.0, 5.0, 6.0], "a": [1.0, 2.0, 3.0]})
    assert [1.0, 4.0, 2.0, 5.0, 3.0, 6.0] == values(answer.outputs[0])
    assert not answer.provenance.views
    assert not answer.provenance.degradations


async def test_a_request_time_list(own: Sandbox) -> None:
    """A request-time feature that fills a whole input has as many values a row as the input."""
    await own.serve("list", echo(x=("FP32", (3,)), n=("INT64", ())), {"x": ["request:path"], "n": ["request:n"]})
    answer = await own.predict("list", {}, {"n": [1, 2], "path": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]})
    assert [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] == values(answer.outputs[0])
    assert [1, 2] == values(answer.outputs[1])
