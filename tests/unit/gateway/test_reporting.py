"""Traffic reported to a registry that may be away, slow, or unsure whether it has heard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from predictmesh.registry.v1 import release_service_pb2 as pb
from predictmesh.registry.v1 import traffic_pb2
from predictmesh.types.v1 import data_type_pb2
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.agreement import Pair, ShadowExample, ShadowTotals
from services.gateway.clients import TrafficClient
from services.gateway.reporting import MAX_SHADOWS, TIMEOUT_S, Reporter
from services.gateway.routing import Arm
from services.gateway.target import DType, KeyColumn, Output
from services.gateway.traffic import ArmTotals
from services.mesh.errors import DeadlineExceeded, MeshError, Overloaded, UpstreamUnavailable
from tests.support.virtual_time import run_virtually

ARM = Arm("m", 7, 1, "1.1.0")


class Counter:
    """Totals of one arm that a test raises."""

    def __init__(self) -> None:
        self.requests = self.told = 0

    def changed(self) -> Sequence[ArmTotals]:
        return [ArmTotals(ARM, self.requests, 0, {})] if self.requests != self.told else []

    def taken(self, totals: Sequence[ArmTotals]) -> None:
        (self.told,) = (each.requests for each in totals)


class Nothing:
    """No shadow."""

    def changed(self) -> Sequence[ShadowTotals]:
        return []

    def taken(self, totals: Sequence[ShadowTotals]) -> None:
        assert not totals


class MemoryRegistry:
    """Keeps what is reported; each of `failures` fails one report, of those `heard` after it has been kept."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, int, int]] = []
        self.failures: list[Exception] = []
        self.heard = False
        self.takes_shadows = True
        self.shadows: list[int] = []
        self.calls = 0
        self.timeouts: set[float] = set()

    async def report(
        self,
        instance_id: str,
        sequence: int,
        arms: Sequence[ArmTotals],
        shadows: Sequence[ShadowTotals],
        *,
        timeout_s: float,
    ) -> None:
        self.calls += 1
        self.timeouts.add(timeout_s)
        self.shadows.append(len(shadows))
        if shadows and not self.takes_shadows:
            raise Overloaded("the message is too large")
        failure = self.failures.pop(0) if self.failures else None
        if failure is None or self.heard:
            self.reports.append((instance_id, sequence, arms[0].requests if arms else 0))
        if failure is not None:
            raise failure


def run(test: Callable[[MemoryRegistry, Counter, Reporter], Coroutine[Any, Any, None]]) -> MemoryRegistry:
    """Run a test with a reporter under way, in virtual time; return what the registry had when it had ended."""

    async def whole() -> MemoryRegistry:
        registry, counter = MemoryRegistry(), Counter()
        async with Reporter(registry, counter, Nothing()) as reporter:
            await test(registry, counter, reporter)
        return registry

    return run_virtually(whole())


def test_changes_are_reported_within_a_second_or_so() -> None:
    """What has changed is reported once, as a total, in a growing sequence; nothing else is."""

    async def test(registry: MemoryRegistry, counter: Counter, reporter: Reporter) -> None:
        for requests in (1, 5):
            counter.requests = requests
            await asyncio.sleep(1.3)
            assert requests == registry.reports[-1][2]
        await asyncio.sleep(60)

    registry = run(test)
    assert [(1, 1), (2, 5)] == [(sequence, requests) for _, sequence, requests in registry.reports]
    assert {TIMEOUT_S} == registry.timeouts


def test_what_was_not_taken_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    """While the registry is away totals gather; when it is back it gets them all. That is logged once."""

    async def test(registry: MemoryRegistry, counter: Counter, reporter: Reporter) -> None:
        registry.failures = [UpstreamUnavailable("away")] * 5
        for requests in range(1, 11):
            counter.requests = requests
            await asyncio.sleep(1)

    with caplog.at_level(logging.WARNING):
        registry = run(test)
    assert 10 == registry.reports[-1][2]
    assert ["traffic is not reported"] == [record.message for record in caplog.records]


def test_a_report_of_which_nobody_knows_whether_it_arrived_is_repeated() -> None:
    """It is told again, under a later number: the registry replaces what it had."""

    async def test(registry: MemoryRegistry, counter: Counter, reporter: Reporter) -> None:
        registry.failures, registry.heard = [DeadlineExceeded("late")], True
        counter.requests = 3
        await asyncio.sleep(3)

    assert [(1, 3), (2, 3)] == [(sequence, requests) for _, sequence, requests in run(test).reports]


def test_what_changes_while_a_report_is_under_way_is_told_next() -> None:
    """The report on its way is of the totals when it left."""

    async def test(registry: MemoryRegistry, counter: Counter, reporter: Reporter) -> None:
        counter.requests = 1
        report = registry.report

        async def slow(*args: Any, **kwargs: Any) -> None:
            counter.requests = 2
            await report(*args, **kwargs)

        registry.report = slow  # type: ignore[method-assign]
        await reporter.report()
        registry.report = report  # type: ignore[method-assign]
        await reporter.report()

    assert [1, 2] == [requests for _, _, requests in run(test).reports]


def test_last_report_at_the_end() -> None:
    """What was counted since the last report is reported when the gateway stops."""

    async def test(registry: MemoryRegistry, counter: Counter, reporter: Reporter) -> None:
        counter.requests = 9

    assert [9] == [requests for _, _, requests in run(test).reports]


def test_a_registry_that_is_away_at_the_end() -> None:
    """It is asked once, and stopping goes on."""

    async def test(registry: MemoryRegistry, counter: Counter, reporter: Reporter) -> None:
        counter.requests = 9
        registry.failures = [UpstreamUnavailable("away")]

    registry = run(test)
    assert (1, []) == (registry.calls, registry.reports)


def test_a_fault_of_ours_does_not_end_reporting(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its cause, and the next report is made."""

    async def test(registry: MemoryRegistry, counter: Counter, reporter: Reporter) -> None:
        registry.failures = [KeyError("bug")]
        counter.requests = 1
        await asyncio.sleep(3)

    with caplog.at_level(logging.ERROR):
        assert [1] == [requests for _, _, requests in run(test).reports]
    assert "KeyError" in caplog.text


def test_each_process_has_its_own_name() -> None:
    """A process that is started anew counts from 0 under another name."""

    async def test(registry: MemoryRegistry, counter: Counter, reporter: Reporter) -> None:
        counter.requests = 1

    assert 2 == len({name for _ in range(2) for name, _, _ in run(test).reports})


class Shadows:
    """Totals of so many pairs of versions."""

    def __init__(self, count: int) -> None:
        self.left = {Pair(f"{number}", "1.0.0", "1.1.0") for number in range(count)}

    def changed(self) -> Sequence[ShadowTotals]:
        return [ShadowTotals(pair, 0, 0, 0, 0, 0, 1, 0, {}, 0.0, (), 0) for pair in sorted(self.left)]

    def taken(self, totals: Sequence[ShadowTotals]) -> None:
        self.left -= {each.pair for each in totals}


async def test_shadows_never_hold_up_evidence() -> None:
    """They are reported by themselves, some at a time, and again while the registry does not take them."""
    registry, counter, shadows = MemoryRegistry(), Counter(), Shadows(MAX_SHADOWS + 1)
    counter.requests, registry.takes_shadows = 3, False
    reporter = Reporter(registry, counter, shadows)
    await reporter.report()
    assert (3, MAX_SHADOWS + 1) == (counter.told, len(shadows.left))
    registry.takes_shadows = True
    await reporter.report()
    assert not shadows.left
    assert [0, MAX_SHADOWS, MAX_SHADOWS, 1] == registry.shadows


class Stub:
    """The registry's stub."""

    def __init__(self, failure: MeshError | None = None) -> None:
        self.asked: list[tuple[pb.ReportTrafficRequest, float]] = []
        self.failure = failure

    async def ReportTraffic(self, request: pb.ReportTrafficRequest, timeout: float) -> pb.ReportTrafficResponse:
        self.asked.append((request, timeout))
        if self.failure is not None:
            raise self.failure
        return pb.ReportTrafficResponse()


async def test_client_sends_every_field() -> None:
    """Names, sequence, totals and histograms, and each example of a shadow."""
    key, number = KeyColumn("carrier", is_int=False), KeyColumn("flight", is_int=True)
    output = Output("y", DType.FP32, (2,), 2, finite=False)
    example = ShadowExample(
        prediction_id="mine",
        row=3,
        difference=0.5,
        entities=((key, "UA"), (number, 17)),
        primary=((output, np.array([[1.0, 2.0]], "<f4")),),
        shadow=((output, np.array([[1.5, 2.0]], "<f4")),),
        as_of_us=5_000_007,
    )
    shadow = ShadowTotals(
        Pair("m", "1.0.0", "1.1.0"), 9, 8, 7, 6, 5, 4, 3, {0: 8, 40: 1}, -0.25, (example,), last_time_us=6_000_000
    )
    stub = Stub()
    await TrafficClient(stub).report(  # type: ignore[arg-type]
        "me", 4, [ArmTotals(ARM, 5, 2, {79: 2, 151: 1})], [shadow], timeout_s=1.5
    )

    def values(*floats: float) -> list[Tensor]:
        return [Tensor(name="y", data_type=data_type_pb2.DATA_TYPE_FP32, shape=[1, 2], floats=floats)]

    expected = pb.ReportTrafficRequest(
        instance_id="me",
        sequence=4,
        arms=[
            traffic_pb2.ArmTotals(
                endpoint="m",
                release_id=7,
                step=1,
                version="1.1.0",
                requests=5,
                errors=2,
                latency=traffic_pb2.Histogram(bins=[79, 151], counts=[2, 1]),
            )
        ],
        shadows=[
            traffic_pb2.ShadowTotals(
                endpoint="m",
                primary="1.0.0",
                shadow="1.1.0",
                rows=9,
                exact_rows=8,
                tolerant_rows=7,
                top1_rows=6,
                ranked_rows=5,
                errors=4,
                dropped=3,
                differences=traffic_pb2.Histogram(bins=[0, 40], counts=[8, 1]),
                difference_sum=-0.25,
                worst=[
                    traffic_pb2.ShadowExample(
                        prediction_id="mine",
                        row=3,
                        difference=0.5,
                        entities=[Tensor(name="carrier", strings=["UA"]), Tensor(name="flight", ints=[17])],
                        primary=values(1.0, 2.0),
                        shadow=values(1.5, 2.0),
                    )
                ],
            )
        ],
    )
    expected.shadows[0].worst[0].as_of.FromMicroseconds(5_000_007)
    expected.shadows[0].last_time.FromMicroseconds(6_000_000)
    assert [(expected, 1.5)] == stub.asked


async def test_client_raises_what_the_registry_answers() -> None:
    """So that the totals stay to be told."""
    with pytest.raises(UpstreamUnavailable):
        await TrafficClient(Stub(UpstreamUnavailable("away"))).report("me", 1, [], [], timeout_s=1)  # type: ignore[arg-type]
