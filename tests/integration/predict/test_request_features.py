"""What a request brings: values that are its own, and values in place of stored ones."""

from __future__ import annotations

import math

import pytest
import pytest_asyncio

from predictmesh.types.v1.tensor_pb2 import Tensor
from tests.worlds.failures import failure, status_failure
from tests.worlds.models import echo
from tests.worlds.resources import field, tensor, values, view
from tests.worlds.sandbox import Sandbox

RIDER = {"rider_id": "STRING"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stored(own: Sandbox) -> Sandbox:
    """A view with one field of each kind, stored for riders a, b and c; the endpoint shows them all."""
    fields = (field("f"), field("n", "INT64"), field("d", "FP64"), field("s", "BYTES"), field("l", length=2))
    await own.view(view("all", *fields, entity="rider", keys=RIDER))
    model = echo(f=("FP32", ()), n=("INT64", ()), d=("FP64", ()), s=("BYTES", ()), l=("FP32", (3,)))
    sources = {"f": ["all:f"], "n": ["all:n"], "d": ["all:d"], "s": ["all:s"], "l": ["all:l", "request:r"]}
    await own.serve("all", model, sources)
    columns = {
        "f": [1.0, 2.0, 3.0],
        "n": [1, 2, 3],
        "d": tensor("d", [0.1, 0.2, 0.3], "doubles"),
        "s": ["x", "y", "z"],
        "l": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    }
    await own.write("all", {"rider_id": ["a", "b", "c"]}, columns)
    return own


KEYS = {"rider_id": ["a", "b", "c"]}
R = {"r": [7.0, 8.0, 9.0]}


async def test_without_overrides(stored: Sandbox) -> None:
    """What is stored and what the request brings share an input."""
    answer = await stored.predict("all", KEYS, R)
    assert [
        [1.0, 2.0, 3.0],
        [1, 2, 3],
        [0.1, 0.2, 0.3],
        ["x", "y", "z"],
        [1.0, 2.0, 7.0, 3.0, 4.0, 8.0, 5.0, 6.0, 9.0],
    ] == [values(output) for output in answer.outputs]


@pytest.mark.parametrize(
    ("name", "given", "output", "seen"),
    [
        ("all:f", [9.0, 8.0, 7.0], 0, [9.0, 8.0, 7.0]),
        ("all:f", [9.0, None, 7.0], 0, [9.0, 2.0, 7.0]),
        ("all:n", [None, None, -5], 1, [1, 2, -5]),
        ("all:d", [None, 1e300, None], 2, [0.1, 1e300, 0.3]),
        ("all:s", ["", None, "ü"], 3, ["", "y", "ü"]),
        ("all:l", [None, [0.0, -1.0], None], 4, [1.0, 2.0, 7.0, 0.0, -1.0, 8.0, 5.0, 6.0, 9.0]),
    ],
)
async def test_overrides(stored: Sandbox, name: str, given: list[object], output: int, seen: list[object]) -> None:
    """A stored value gives way to the request's, but for the request's null rows."""
    column = tensor(name, given, "doubles") if name == "all:d" else given
    answer = await stored.predict("all", KEYS, {**R, name: column})
    assert seen == values(answer.outputs[output])
    assert not answer.row_errors


async def test_overrides_complete_what_is_not_stored(stored: Sandbox) -> None:
    """For an unknown entity the request may bring what has no default; the row is answered and said to be absent."""
    brought = {"all:f": [1.0], "all:n": [2], "all:d": tensor("all:d", [3.0], "doubles"), "all:s": ["four"], "r": [7.0]}
    answer = await stored.predict("all", {"rider_id": ["unknown"]}, brought)
    assert not answer.row_errors
    assert [[1.0], [2], [3.0], ["four"]] == [values(output) for output in answer.outputs[:4]]
    assert math.isnan(values(answer.outputs[4])[0])
    assert 1 == len(answer.provenance.degradations)


async def test_whole_numbers_serve_as_floats(stored: Sandbox) -> None:
    """A client that writes 3 means 3.0."""
    answer = await stored.predict("all", KEYS, {"r": [1, 2, 3], "all:d": [4, 5, 6]})
    assert [1.0, 2.0, 3.0] == values(answer.outputs[4])[2::3]
    assert [4.0, 5.0, 6.0] == values(answer.outputs[2])


async def test_a_null_of_a_required_feature(own: Sandbox) -> None:
    """A null row of a request-time feature is NaN to a float, and an error of its row to other types."""
    model = echo(x=("FP32", ()), n=("INT64", ()))
    await own.serve("nulls", model, {"x": ["request:x"], "n": ["request:n"]})
    answer = await own.predict("nulls", {}, {"x": [None, 1.0, 2.0], "n": [1, 2, None]})
    assert math.isnan(values(answer.outputs[0])[0])
    assert [1.0] == values(answer.outputs[0])[1:2]
    assert [(2, "MISSING_FEATURE")] == [(each.row, status_failure(each.status).reason) for each in answer.row_errors]
    found = await failure(own.predict("nulls", {}, {"x": [1.0], "n": Tensor(name="n", ints=[0], null_rows=[0])}))
    assert ("FAILED_PRECONDITION", "MISSING_FEATURE") == (found.code, found.reason)


async def test_one_feature_for_two_inputs(own: Sandbox) -> None:
    """A request-time feature that two inputs take is brought once."""
    await own.serve("twice", echo(a=("FP32", (1,)), b=("FP32", (1,))), {"a": ["request:x"], "b": ["request:x"]})
    answer = await own.predict("twice", {}, {"x": [1.5, 2.5]})
    assert [[1.5, 2.5], [1.5, 2.5]] == [values(output) for output in answer.outputs]
