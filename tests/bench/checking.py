"""Looks at answers while a rival is under the pressure of generators that do not: a caller of its own, 20 times a second."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import grpc
import numpy as np

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse
from tests.bench.load import PREDICT, TOLERANCE
from tests.bench.rivals import Rival
from tests.bench.workload import Floats

PAUSE_S = 0.05
LIMIT_S = 10.0

Ask = Callable[[bytes], Sequence[float]]


def http_body(request: bytes) -> bytes:
    """Return what the other stacks are asked for the request that we are asked."""
    entities = PredictRequest.FromString(request).entities
    return json.dumps({column.name: column.strings[0] for column in entities}).encode()


@contextmanager
def checking(rival: Rival, requests: Sequence[tuple[bytes, Floats]]) -> Iterator[None]:
    """Ask and compare during the context; raises SystemExit at its end if an answer was wrong or none came."""
    if rival.speaks == "empty":
        yield
        return
    over, faults = threading.Event(), list[str]()
    with _asking(rival) as ask:
        thread = threading.Thread(target=_check, args=(ask, requests, over, faults))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
    if faults:
        raise SystemExit(f"{rival.name}: {faults[0]}")


def _check(ask: Ask, requests: Sequence[tuple[bytes, Floats]], over: threading.Event, faults: list[str]) -> None:
    turn = 0
    while not faults:
        request, answer = requests[turn * 37 % len(requests)]
        turn += 1
        try:
            scores = ask(request)
        except (OSError, grpc.RpcError) as error:
            faults.append(str(error))
        else:
            if len(scores) != len(answer) or np.abs(scores - answer).max() > TOLERANCE:
                faults.append(f"answered {scores} where {answer} is right")
        if over.wait(PAUSE_S):
            return


@contextmanager
def _asking(rival: Rival) -> Iterator[Ask]:
    if rival.speaks == "http":
        yield lambda request: [_posted(rival.target, http_body(request))]
        return
    with grpc.insecure_channel(rival.target.split(",", maxsplit=1)[0]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, PredictResponse] = channel.unary_unary(
            PREDICT, None, PredictResponse.FromString
        )
        yield lambda request: call(request, timeout=LIMIT_S).outputs[0].floats


def _posted(target: str, body: bytes) -> float:
    request = urllib.request.Request(f"http://{target}/predict", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        return float(json.load(answer)["score"])
