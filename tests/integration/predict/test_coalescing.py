"""Requests that travel together: each gets its own values, ages and errors, as if it had travelled alone."""

from __future__ import annotations

import asyncio
import math
import random

import grpc
import pytest
import pytest_asyncio

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.gateway.v1.provenance_pb2 import DegradationReason
from tests.support.onnx_models import lookup, reciprocal
from tests.worlds.failures import Failure, failure_of, status_failure
from tests.worlds.models import echo
from tests.worlds.resources import field, values, view
from tests.worlds.sandbox import NOON_US, Sandbox

RIDER = {"rider_id": "STRING"}
LIMIT_S = 100
COUNT = 200


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mixed(own: Sandbox) -> Sandbox:
    """Riders 0 to 199, rider n's value is n and n seconds old at noon; one view keeps for 100 s, the other for ever."""
    await own.view(
        view("short", field("v", default=-1.0), entity="rider", keys=RIDER, max_age_s=LIMIT_S, policy="DEFAULT")
    )
    await own.view(view("strict", field("v"), entity="rider", keys=RIDER, max_age_s=LIMIT_S, policy="REJECT"))
    await own.serve("mixed", echo(x=("FP32", (3,))), {"x": ["short:v", "short.age", "request:x"]})
    await own.serve("strict", echo(x=("FP32", (1,))), {"x": ["strict:v"]})
    keys = {"rider_id": [f"r{n}" for n in range(COUNT)]}
    stored = {"v": [float(n) for n in range(COUNT)]}
    times = [NOON_US - n * 1_000_000 for n in range(COUNT)]
    await own.write("short", keys, stored, at_us=times)
    await own.write("strict", keys, stored, at_us=times)
    return own


def value_and_age(row: int, shift_us: int) -> tuple[float, float]:
    """What the model must be given of a rider, as of `shift_us` after noon."""
    age_us = row * 1_000_000 + shift_us
    if row < COUNT and age_us <= LIMIT_S * 1_000_000:
        return float(row), age_us / 1e6
    return -1.0, math.nan


def expected(rows: list[int], shift_us: int) -> tuple[int | None, list[tuple[str, list[int]]]]:
    """The oldest age in milliseconds and the degradations that a request for these riders must be told."""
    ages_us = [row * 1_000_000 + shift_us for row in rows if row < COUNT]
    notes = {
        "FEATURE_ABSENT": [index for index, row in enumerate(rows) if row >= COUNT],
        "FEATURE_STALE_DEFAULTED": [
            index for index, row in enumerate(rows) if row < COUNT and math.isnan(value_and_age(row, shift_us)[1])
        ],
    }
    told = [(reason, [] if len(found) == len(rows) else found) for reason, found in notes.items() if found]
    return (max(ages_us) // 1000 if ages_us else None), told


def told(answer: gateway_pb.PredictResponse) -> tuple[int | None, list[tuple[str, list[int]]]]:
    """What an answer does tell."""
    (age,) = answer.provenance.views
    notes = [
        (DegradationReason.Name(each.reason).removeprefix("DEGRADATION_REASON_"), list(each.rows))
        for each in answer.provenance.degradations
    ]
    return (age.oldest_age_ms if age.HasField("oldest_age_ms") else None), sorted(notes)


async def test_each_request_has_its_own_provenance(mixed: Sandbox) -> None:
    """Values, ages, statuses and as_of of requests of different rows never mix, however they are put together."""
    choose = random.Random(7)
    requests = [[choose.randrange(2 * COUNT) for _ in range(choose.choice((1, 1, 1, 2, 5, 30)))] for _ in range(150)]

    async def ask(rows: list[int], shift_us: int) -> gateway_pb.PredictResponse:
        features = {"x": [float(row) for row in rows]}
        return await mixed.predict(
            "mixed", {"rider_id": [f"r{row}" for row in rows]}, features, as_of_us=NOON_US + shift_us
        )

    # Each a microsecond later than the one before, which decides whether rider 100 is too old.
    answers = await asyncio.gather(*(ask(rows, shift) for shift, rows in enumerate(requests)))
    for shift, (rows, answer) in enumerate(zip(requests, answers, strict=True)):
        seen = values(answer.outputs[0])
        assert [float(row) for row in rows] == seen[2::3]
        for row, value, age in zip(rows, seen[0::3], seen[1::3], strict=True):
            assert value_and_age(row, shift) == pytest.approx((value, age), nan_ok=True)
        assert expected(rows, shift) == told(answer)
        assert NOON_US + shift == answer.provenance.as_of.ToMicroseconds()
        assert answer.provenance.batch_rows >= len(rows)
    trace_ids = {answer.provenance.trace_id for answer in answers}
    assert len(requests) == len({answer.prediction_id for answer in answers}) == len(trace_ids)
    assert any(answer.provenance.batch_rows > len(rows) for rows, answer in zip(requests, answers, strict=True))


async def ask_all(
    own: Sandbox, requests: list[gateway_pb.PredictRequest]
) -> list[gateway_pb.PredictResponse | Failure]:
    """Send all at once; return answers and failures in their order."""

    async def ask(request: gateway_pb.PredictRequest) -> gateway_pb.PredictResponse | Failure:
        try:
            return await own.mesh.gateway.Predict(request, timeout=10)
        except grpc.aio.AioRpcError as error:
            return failure_of(error)

    return await asyncio.gather(*(ask(request) for request in requests))


async def test_refused_rows_are_those_of_their_request(mixed: Sandbox) -> None:
    """A view that rejects old values fails its rows alone, in the request that asked for them."""
    rows = [[n, (n + 60) % COUNT] for n in range(0, COUNT, 3)]
    requests = [mixed.request("strict", {"rider_id": [f"r{n}" for n in pair]}) for pair in rows]
    for pair, answer in zip(rows, await ask_all(mixed, requests), strict=True):
        stale = [index for index, n in enumerate(pair) if n > LIMIT_S]
        if len(stale) == 2:
            assert isinstance(answer, Failure)
            assert "STALE_FEATURE" == answer.reason
            continue
        assert isinstance(answer, gateway_pb.PredictResponse)
        assert stale == [error.row for error in answer.row_errors]
        fresh = [(index, float(n)) for index, n in enumerate(pair) if n <= LIMIT_S]
        assert all(value == values(answer.outputs[0])[index] for index, value in fresh)


async def test_an_input_that_the_runtime_fails_on(own: Sandbox) -> None:
    """A row that makes the model fail fails alone: its neighbours in the request and in the batch are answered."""
    await own.serve("table", lookup(4), {"x": ["request:x"]})
    requests = [own.request("table", {}, {"x": [3, 99] if n % 5 == 0 else [n % 4]}) for n in range(60)]
    for n, answer in enumerate(await ask_all(own, requests)):
        assert isinstance(answer, gateway_pb.PredictResponse)
        if n % 5 == 0:
            ((row, error),) = [(each.row, status_failure(each.status)) for each in answer.row_errors]
            assert (1, "INTERNAL", "RUNTIME_FAILED") == (row, error.code, error.reason)
            assert [30.0, 0.0] == values(answer.outputs[0])
        else:
            assert [10.0 * (n % 4)] == values(answer.outputs[0])
            assert not answer.row_errors


async def test_an_output_that_the_signature_refuses(own: Sandbox) -> None:
    """The same for an output that is not finite where it must be."""
    await own.serve("inverse", reciprocal(), {"x": ["request:x"]})
    requests = [own.request("inverse", {}, {"x": [float(n % 3)]}) for n in range(60)]
    for n, answer in enumerate(await ask_all(own, requests)):
        if n % 3 == 0:
            assert isinstance(answer, Failure)
            assert "INTERNAL" == answer.code
            assert answer.reason in {"INVALID_OUTPUT", "RUNTIME_FAILED"}
        else:
            assert isinstance(answer, gateway_pb.PredictResponse)
            assert [1 / (n % 3)] == values(answer.outputs[0])
