"""Closed-loop pressure by h2load: what it measures is the servers.

h2load sees the statuses of HTTP, but neither those of gRPC nor answers. So our gateways' own counters must show as many
good calls as it had answers and no failed one, a naive mesh must have sent as many bytes as good answers have, and a
caller beside it compares all that it gets (`checking`).
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from predictmesh.types.v1.tensor_pb2 import Tensor
from tests.bench import h2load
from tests.bench.checking import checking, http_body
from tests.bench.h2load import Answers
from tests.bench.load import EMPTY, PREDICT, cpu_seconds
from tests.bench.rivals import Rival
from tests.bench.workload import Floats

_COUNT = re.compile(
    r'rpc_server_call_duration_seconds_count{rpc_method="Predict",rpc_status_code="(\w+)",.*} ([\d.e+]+)'
)
_TIMEOUT_MS = 10_000
# The least that a good answer has: five bytes before a message with nothing but a score.
_ANSWER_BYTES = 5 + PredictResponse(outputs=[Tensor(name="score", floats=[0.5])]).ByteSize()


@dataclass(frozen=True)
class Pressed:
    """What came of it. CPU is in microseconds an answer, by process."""

    answered: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[int, float]


def press(rival: Rival, requests: Sequence[tuple[bytes, Floats]], callers: int, calls: int) -> Pressed:
    """Make `calls` calls, `callers` at a time; raises SystemExit if an answer was wrong or failed."""
    with checking(rival, requests):
        statuses, before = _statuses(rival), cpu_seconds(rival.all_pids)
        found = _called(rival, [request for request, _ in requests], callers, calls)
        after = cpu_seconds(rival.all_pids)
    _check(rival, statuses, found)
    p50, p99 = np.percentile(found.latencies_ms, (50, 99))
    return Pressed(
        found.count,
        found.count / found.seconds,
        float(p50),
        float(p99),
        {pid: (after[pid] - before[pid]) / found.count * 1e6 for pid in rival.all_pids},
    )


def _called(rival: Rival, requests: Sequence[bytes], callers: int, calls: int) -> Answers:
    if rival.speaks == "http":
        return h2load.post(rival.target, "/predict", [http_body(request) for request in requests], callers, calls)
    path, messages = (EMPTY, [b""]) if rival.speaks == "empty" else (PREDICT, requests)
    return h2load.call(rival.target, path, messages, callers, calls, timeout_ms=_TIMEOUT_MS)


def _statuses(rival: Rival) -> Mapping[str, float]:
    if rival.http == "":
        return {}
    found: dict[str, float] = {}
    for address in rival.http.split(","):
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            for code, count in _COUNT.findall(answer.read().decode()):
                found[code] = found.get(code, 0) + float(count)
    return found


def _check(rival: Rival, before: Mapping[str, float], found: Answers) -> None:
    if rival.speaks == "Predict" and found.body_bytes < found.count * _ANSWER_BYTES:
        raise SystemExit(f"{rival.name}: {found.count} answers have only {found.body_bytes} bytes")
    calls = {code: count - before.get(code, 0) for code, count in _statuses(rival).items()}
    bad = any(count for code, count in calls.items() if code != "OK")
    if rival.http and (bad or calls.get("OK", 0) < found.count):
        raise SystemExit(f"{rival.name}: h2load counted {found.count} answers, the gateway {calls}")
