"""What those who count, keep and compare make of answers that a ladder has saved."""

from __future__ import annotations

import math
from typing import Any

import pytest

from predictmesh.registry.v1.endpoint_pb2 import OUTCOME_KIND_REGRESSION, Fallback, OutcomePolicy, Shadow
from services.gateway.agreement import Agreements, Pair
from services.gateway.convert_outcomes import encode_record
from services.gateway.records import Record, record_of
from services.gateway.routing import Arm
from services.gateway.shadowing import Shadowing
from services.gateway.traffic import ArmTotals, Traffic, latency_bin
from services.mesh.errors import Code, MeshError
from tests.support.predictions import MemoryFeatures, MemoryModel, release, version
from tests.support.waiting import eventually
from tests.unit.gateway.ladder.ladders import FULL, LAST_ANSWER, ROWS, SIMPLE, LadderWorld, broken, static

SIMPLER = Fallback(version="1.5.0")
CANDIDATE = Arm("m", 7, 0, "2.0.0")
POLICY = OutcomePolicy(output="y", kind=OUTCOME_KIND_REGRESSION, capture_percent=100)


class Releasing:
    """A release that gives every request to 2.0.0, with a ladder below, and what is counted of it."""

    def __init__(self, *fallbacks: Fallback) -> None:
        self.traffic = Traffic()
        self.world = LadderWorld(observers=[self.traffic])
        running = release("1.0.0", "2.0.0", 100)
        self.world.define(*fallbacks, route={"version": "1.0.0"}, releases=[running])
        self.traffic.use(self.world.flow.table)

    def counted(self) -> ArmTotals:
        (totals,) = self.traffic.changed()
        return totals


async def test_answer_that_was_saved_is_a_failure_of_the_candidate() -> None:
    """Callers did not notice; the release must. How long it took says nothing of a version that answered nothing."""
    releasing = Releasing(SIMPLER)
    releasing.world.failing["2.0.0"] = broken()
    answer = await releasing.world.predict("a", "b")
    totals = releasing.counted()
    assert (CANDIDATE, 1, 1, {}) == (totals.arm, totals.requests, totals.errors, totals.latency)
    assert ({}, CANDIDATE) == (answer.outcome.row_errors, answer.route.arm)


async def test_rows_that_were_saved_are_failures_too() -> None:
    """Of the time, what the version took before the others were asked."""
    releasing = Releasing(SIMPLER)
    releasing.world.failed_rows["2.0.0"] = {1: Code.INTERNAL}
    answer = await releasing.world.predict("a", "b")
    totals = releasing.counted()
    assert (1, 1) == (totals.requests, totals.errors)
    assert {latency_bin(answer.ladder[0].duration_us / 1e6): 1} == totals.latency


async def test_ladder_that_did_not_help_counts_once() -> None:
    """As a failure, whether of the request or of a row."""
    releasing = Releasing(SIMPLER)
    releasing.world.failing = {"2.0.0": broken(), "1.5.0": broken()}
    with pytest.raises(MeshError):
        await releasing.world.predict("a")
    assert (1, 1) == (releasing.counted().requests, releasing.counted().errors)
    releasing.world.failing = {"1.5.0": broken()}
    releasing.world.failed_rows["2.0.0"] = {0: Code.INTERNAL}
    await releasing.world.predict("a", "b")
    assert (2, 2) == (releasing.counted().requests, releasing.counted().errors)


async def test_ladder_that_was_not_needed_is_no_failure() -> None:
    """Nor is what is the caller's fault."""
    releasing = Releasing(SIMPLER)
    await releasing.world.predict("a")
    releasing.world.failed_rows["2.0.0"] = {0: Code.INVALID_ARGUMENT}
    await releasing.world.predict("a", "b")
    assert (2, 0) == (releasing.counted().requests, releasing.counted().errors)


async def recorded(world: LadderWorld, *riders: str) -> Record:
    """Return what is kept of a request."""
    answer = await world.predict(*riders)
    at = world.flow.table.endpoint("m")
    assert at.outcomes is not None
    record = record_of(at, at.outcomes, answer, 0)
    assert record is not None
    return record


def shown(record: Record) -> list[float | None]:
    """Return the scores, None for those that failed."""
    return [None if math.isnan(score) else score for score in record.scores]


async def test_rows_of_fallbacks_are_kept_as_failed() -> None:
    """Their outcomes would be told of a version that has not answered them."""
    world = LadderWorld(SIMPLER, static(0.5), outcomes=POLICY)
    world.failed_rows["2.0.0"] = {1: Code.INTERNAL}
    record = await recorded(world, "a", "b")
    assert ("2.0.0", [101.0, None]) == (record.version, shown(record))
    assert record.served is not None
    assert ["rider:a", "rider:b"] == [source.name for source in encode_record(record).features.sources]


async def test_version_that_stands_in_is_judged_by_its_outcomes() -> None:
    """By its own score and inputs, wherever they stand among its outputs, and not as a part of the release."""
    versions = [
        version(FULL, ("p:FP32:2", "y:FP32"), number="2.0.0", digest="2"),
        version(SIMPLE, ("y:FP32", "p:FP32:2"), number="1.5.0", digest="15"),
    ]
    world = LadderWorld(SIMPLER)
    running = release("1.5.0", "2.0.0", 100)
    world.define(SIMPLER, versions=versions, route={"version": "1.5.0"}, releases=[running], outcomes=POLICY)
    assert [101.0, 7, "2.0.0"] == [(made := await recorded(world, "a")).scores[0], made.release_id, made.version]
    world.failing["2.0.0"] = broken()
    record = await recorded(world, "a", "b")
    assert ("1.5.0", 0, 0, [1.0, 2.0]) == (record.version, record.release_id, record.step, record.scores)
    features = encode_record(record).features
    assert [("rider:a", [0.0, 1.0])] == [(source.name, list(source.values.floats)) for source in features.sources]
    assert [("rider", [0, 1_000])] == [(each.name, list(each.ages_us)) for each in features.views]


@pytest.mark.parametrize("fallback", [LAST_ANSWER, static(0.5)], ids=["last answer", "static answer"])
async def test_answers_from_memory_are_no_predictions_of_a_version(fallback: Fallback) -> None:
    """Nothing came true of them; who records an outcome is told so."""
    world = LadderWorld(fallback, outcomes=POLICY)
    await world.predict("a")
    world.failing["2.0.0"] = broken()
    record = await recorded(world, "a")
    assert ("2.0.0", [None], None) == (record.version, shown(record), record.served)


class Shadowed:
    """Endpoint m with shadow 1.0.0, which answers as 1.5.0 does."""

    def __init__(self, *fallbacks: Fallback, **shadow: Any) -> None:
        self.agreements = Agreements()
        self.model = MemoryModel()
        self.shadowing = Shadowing(MemoryFeatures(ROWS), self.model, self.agreements, idle=lambda: True)
        made = Shadow(selector="1.0.0", percent=100, **shadow)
        self.world = LadderWorld(*fallbacks, observers=[self.shadowing], shadow=made)


async def test_shadow_is_not_compared_with_fallbacks() -> None:
    """Only with rows that the route's version has answered; its failures are told elsewhere."""
    shadowed = Shadowed(SIMPLER)
    shadowed.world.failed_rows["2.0.0"] = {1: Code.INTERNAL}
    async with shadowed.shadowing:
        await shadowed.world.predict("a", "b", "c")
        await eventually(lambda: shadowed.shadowing.lines == 0)
        totals = shadowed.agreements.of(Pair("m", "2.0.0", "1.0.0")).totals()
        assert (2, 0, 0, -200.0) == (totals.rows, totals.exact_rows, totals.errors, totals.difference_sum)
        shadowed.world.failing["2.0.0"] = broken()
        await shadowed.world.predict("a")
        assert 0 == shadowed.shadowing.lines
    assert 1 == len(shadowed.model.calls)
