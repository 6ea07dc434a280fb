"""Many outcomes travel at a time; each is told once, and what fails in passing is sent again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from predictmesh.gateway.v1.prediction_service_pb2 import RecordOutcomeRequest, RecordOutcomeResponse
from services.cli.errors import Failure
from services.cli.outcomes import sending
from services.cli.outcomes.files import Line
from services.cli.outcomes.sending import WINDOW, OutcomeSender, Recorded
from services.cli.targets import Target

NAME = "predictmesh.gateway.v1.PredictionService"


@dataclass
class Gateway:
    """Takes the first label of each row; fails the first `failures` calls, and holds calls while `gate` is closed."""

    failures: int = 0
    status: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    labels: dict[tuple[str, int], float] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    most: int = 0

    async def record(self, request: RecordOutcomeRequest, context: Any) -> RecordOutcomeResponse:
        """Answer one outcome."""
        self.calls[request.prediction_id] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)
            if self.failures:
                self.failures -= 1
                await context.abort(self.status, "away")
            place = (request.prediction_id, request.row)
            existed = place in self.labels
            if self.labels.setdefault(place, request.label) != request.label:
                await context.abort(grpc.StatusCode.ALREADY_EXISTS, "another label")
            return RecordOutcomeResponse(existed=existed)
        finally:
            self.under_way -= 1


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[Target]:
    """Serve on a free port."""
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        gateway.record,
        request_deserializer=RecordOutcomeRequest.FromString,
        response_serializer=RecordOutcomeResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, {"RecordOutcome": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Target("gateway", f"127.0.0.1:{port}", "test")
    finally:
        await server.stop(0)


def lines(*labels: tuple[str, float]) -> Iterator[Line]:
    """Yield a line for each label."""
    for number, (name, label) in enumerate(labels, 1):
        yield Line(number, RecordOutcomeRequest(prediction_id=name, label=label))


async def send(
    gateway: Gateway, found: Iterator[Line], patience_s: float = 10
) -> tuple[Recorded, list[tuple[int, str]]]:
    """Send to the gateway; return the result, and the rejections."""
    rejections: list[tuple[int, str]] = []
    async with serving(gateway) as target:
        sender = OutcomeSender(target, patience_s, lambda number, why: rejections.append((number, why)))
        return await asyncio.to_thread(sender.send, found), rejections


async def test_all_is_sent_a_window_at_a_time() -> None:
    """Every outcome once."""
    gateway = Gateway()
    result, rejections = await send(gateway, lines(*((str(number), 1.0) for number in range(3 * WINDOW))))
    assert (Recorded(3 * WINDOW), []) == (result, rejections)
    assert {1} == set(gateway.calls.values())
    assert 1 < gateway.most <= WINDOW


async def test_of_two_lines_about_a_row_the_first_counts() -> None:
    """As if they were sent one after the other."""
    for _ in range(20):
        gateway = Gateway()
        result, rejections = await send(gateway, lines(("a", 1.0), ("a", 1.0), ("a", 0.0), ("b", 0.0)))
        assert {("a", 0): 1.0, ("b", 0): 0.0} == gateway.labels
        assert Recorded(2, 1, 1) == result
        assert [3] == [number for number, _ in rejections]


async def test_a_line_without_an_outcome_is_rejected_unsent() -> None:
    """The others are sent."""
    gateway = Gateway()
    result, rejections = await send(gateway, iter([Line(1, None, "no label"), *lines(("a", 1.0))]))
    assert (Recorded(1, 0, 1), [(1, "no label")]) == (result, rejections)


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_what_fails_in_passing_is_sent_again(monkeypatch: pytest.MonkeyPatch, status: grpc.StatusCode) -> None:
    """Nothing is rejected, and nothing is lost."""
    monkeypatch.setattr(sending, "_RETRY_S", 0.01)
    gateway = Gateway(failures=WINDOW + 10, status=status)
    count = 2 * WINDOW
    result, rejections = await send(gateway, lines(*((str(number), 1.0) for number in range(count))))
    assert (Recorded(count), []) == (result, rejections)
    assert count == len(gateway.labels)


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that stays away ends the command rather than reject the file line by line."""
    monkeypatch.setattr(sending, "_RETRY_S", 0.01)
    with pytest.raises(Failure, match="cannot reach the gateway"):
        await send(Gateway(failures=1_000_000), lines(("a", 1.0)), patience_s=0.2)
