"""Sends many outcomes over one channel, a number of them at a time; what fails in passing is sent again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, cast

import grpc

from predictmesh.gateway.v1.prediction_service_pb2 import RecordOutcomeResponse
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from services.cli.client import failure, open_channel
from services.cli.outcomes.files import Line
from services.cli.targets import Target

WINDOW = 256
"""Outcomes on their way at most."""
_RETRY_S = 0.5
_PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}


@dataclass
class Recorded:
    """What became of the outcomes; `rejected` counts all that are not recorded."""

    recorded: int = 0
    existed: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class _Answer:
    line: Line
    call: Any


class OutcomeSender:
    """Sends outcomes to the gateway; `reject` is told the line and the reason of each that is not recorded.

    While the gateway is unavailable or full, outcomes are sent again for up to `patience_s` seconds without progress.
    """

    def __init__(self, target: Target, patience_s: float, reject: Callable[[int, str], None]) -> None:
        self._target, self._patience_s, self._reject = target, patience_s, reject
        self._answers: SimpleQueue[_Answer] = SimpleQueue()
        self._under_way: set[tuple[str, int]] = set()
        self._again: list[Line] = []
        self._give_up_at = 0.0
        self.result = Recorded()

    def send(self, lines: Iterator[Line]) -> Recorded:
        """Send all, and return what became of them. Failure if the gateway stays away; a repeat does no harm."""
        self._progress()
        with open_channel(self._target) as channel:
            gateway = PredictionServiceStub(channel)
            for line in lines:
                if line.request is None:
                    self._refuse(line, line.fault)
                    continue
                if len(self._under_way) >= WINDOW:
                    self._settle(self._answers.get())
                # Of two lines about one row the first counts, so that it must arrive first.
                if self._again or _row_of(line) in self._under_way:
                    self._finish(gateway)
                self._call(gateway, line)
            self._finish(gateway)
        return self.result

    def _finish(self, gateway: PredictionServiceStub) -> None:
        """Wait for what is under way, and send again what failed in passing."""
        while self._under_way or self._again:
            if self._under_way:
                self._settle(self._answers.get())
                continue
            time.sleep(_RETRY_S)
            lines, self._again = self._again, []
            for line in lines:
                self._call(gateway, line)

    def _call(self, gateway: PredictionServiceStub, line: Line) -> None:
        self._under_way.add(_row_of(line))
        call = cast("Any", gateway.RecordOutcome).future(line.request, timeout=self._patience_s)
        call.add_done_callback(lambda done: self._answers.put(_Answer(line, done)))

    def _settle(self, answer: _Answer) -> None:
        self._under_way.discard(_row_of(answer.line))
        error = answer.call.exception()
        if error is None:
            self._count(answer.call.result())
        elif error.code() not in _PASSING:
            self._refuse(answer.line, failure(error, self._target).message)
        elif time.monotonic() > self._give_up_at:
            raise failure(error, self._target) from error
        else:
            self._again.append(answer.line)
            return
        self._progress()

    def _progress(self) -> None:
        self._give_up_at = time.monotonic() + self._patience_s

    def _count(self, response: RecordOutcomeResponse) -> None:
        if response.existed:
            self.result.existed += 1
        else:
            self.result.recorded += 1

    def _refuse(self, line: Line, why: str) -> None:
        self.result.rejected += 1
        self._reject(line.number, why)


def _row_of(line: Line) -> tuple[str, int]:
    assert line.request is not None
    return line.request.prediction_id, line.request.row
