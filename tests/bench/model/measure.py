"""Single measurements, each of one rival under one load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tests.bench import h2load
from tests.bench.model import wide
from tests.bench.model.load import INFER
from tests.bench.model.rivals import Rival

UNARY, STREAMS, INSIDE = "unary", "streams", "in process"
"""How calls of one row come: each a call of gRPC; as the gateway's, over streams that stay open; or over no network."""

# The calls of the open loop have so many rows: with fewer, two cores would mostly make, answer and refuse calls, and what
# is measured would not be who computes what when.
CALL_ROWS = 64
BUDGETS_MS = (20.0, 200.0)
_PATIENT_MS = 1000.0

Processes: TypeAlias = Mapping[str, Sequence[int]]
"""Process ids by what the processes are."""


@dataclass(frozen=True)
class Closed:
    """Callers who ask for one row again and again: rows a second in time, latencies, and calls that were not answered."""

    rival: str
    way: str
    callers: int
    rows_per_second: float
    p50_ms: float
    p99_ms: float
    unanswered: int


@dataclass(frozen=True)
class Open:
    """Calls that come by chance, at `load` times the capacity: rows a second, and shares of the rows of each budget.

    `in_vain` are rows sent to Triton although their time was over or their caller gone, `late` those sent in time of which
    the service knows that they were not answered in time; both in rows a second.
    """

    rival: str
    load: float
    capacity: float
    offered: float
    goodput: float
    missed: dict[str, float]
    refused: dict[str, float]
    p99_ms: dict[str, float]
    in_vain: float
    late: float
    lag_ms: float


@dataclass(frozen=True)
class Called:
    """Callers with tritonclient, one row a call; CPU in microseconds a row."""

    rival: str
    callers: int
    per_second: float
    p50_ms: float
    cpu_us: dict[str, float]


def unary(rival: Rival, callers: int, calls: int, budget_ms: float = _PATIENT_MS) -> Closed:
    """Call by h2load, with a caller beside it who checks the answers; the server's own counters tell the good ones."""
    requests = [request for request, _ in wide.make().requests(1)]
    checker = subprocess.Popen(
        _load(rival, "--rows", 1, "--callers", 1, "--seconds", 0.5, "--budgets", _PATIENT_MS), stdout=subprocess.PIPE
    )
    before = rival.calls()
    found = h2load.call(rival.target, INFER, requests, callers, calls, timeout_ms=int(budget_ms))
    checked = json.loads(checker.communicate()[0])
    _refuse_wrong(rival, checked["by_budget_ms"].values())
    good = rival.calls().get("OK", 0) - before.get("OK", 0) - checked["answered"]
    p50, p99 = np.percentile(found.latencies_ms, (50, 99))
    return Closed(rival.name, UNARY, callers, good / found.seconds, float(p50), float(p99), found.count - good)


def streams(rival: Rival, callers: int, seconds: float, budget_ms: float = _PATIENT_MS) -> Closed:
    """Call as the gateway does."""
    found = _asked(rival, "--rows", 1, "--callers", callers, "--seconds", seconds, "--budgets", budget_ms)
    [tally] = found["by_budget_ms"].values()
    return _closed(rival, STREAMS, callers, tally)


def inside(rival: Rival, model: str, callers: int, seconds: float, budget_ms: float = _PATIENT_MS) -> Closed:
    """Call a batcher that has the rival's Triton, where the model is called `model`, without the rival's service."""
    command = [sys.executable, "-m", "tests.bench.model.inside", rival.triton.grpc, model, "--max-batch-rows",
               str(rival.max_batch_rows), "--callers", str(callers), "--seconds", str(seconds), "--budget",
               str(budget_ms)]  # fmt: skip
    tally = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    _refuse_wrong(rival, [tally])
    return _closed(rival, INSIDE, callers, tally)


def capacity(rival: Rival, seconds: float) -> float:
    """Return the rows a second that are answered to callers of whom there are always enough."""
    found = _asked(rival, "--rows", CALL_ROWS, "--callers", 32, "--seconds", seconds, "--budgets", _PATIENT_MS)
    [tally] = found["by_budget_ms"].values()
    return float(tally["rows_per_second"])


def overload(rival: Rival, load: float, most: float, seconds: float, seed: int) -> Open:
    """Offer `load` times `most` rows a second, half with each of the budgets."""
    before = rival.rows()
    found = _asked(rival, "--rows", CALL_ROWS, "--rows-per-second", load * most, "--seconds", seconds,
                   "--budgets", *BUDGETS_MS, "--seed", seed)  # fmt: skip
    rows = {kind: count - before[kind] for kind, count in rival.rows().items()}
    tallies = {f"{float(budget):g}": tally for budget, tally in found["by_budget_ms"].items()}
    calls = {budget: sum(tally["outcomes"].values()) for budget, tally in tallies.items()}
    refused = {budget: tally["outcomes"].get("RESOURCE_EXHAUSTED", 0) for budget, tally in tallies.items()}
    good = {budget: tally["outcomes"].get("OK", 0) for budget, tally in tallies.items()}
    return Open(
        rival.name,
        load,
        most,
        offered=sum(calls.values()) * CALL_ROWS / seconds,
        goodput=sum(tally["rows_per_second"] for tally in tallies.values()),
        missed={budget: (calls[budget] - good[budget] - refused[budget]) / calls[budget] for budget in calls},
        refused={budget: refused[budget] / calls[budget] for budget in calls},
        p99_ms={budget: tally["p99_ms"] for budget, tally in tallies.items()},
        in_vain=rows["gone"] / seconds,
        late=rows["late"] / seconds,
        lag_ms=found["lag_p99_ms"],
    )


def called(name: str, target: str, model: str, callers: int, seconds: float, pids: Processes) -> Called:
    """Call by tritonclient; `pids` are the processes behind the target, by what they are."""
    command = [sys.executable, "-m", "tests.bench.model.direct", target, model, "--callers", str(callers),
               "--seconds", str(seconds), "--pids", *_flat(pids)]  # fmt: skip
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if found["wrong"] or found["failed"] or not found["answered"]:
        raise SystemExit(f"{name}: {found}")
    return Called(name, callers, found["per_second"], found["p50_ms"], _cpu(found, pids))


def called_over_streams(name: str, rival: Rival, callers: int, seconds: float, pids: Processes) -> Called:
    """Call as the gateway does."""
    found = _asked(rival, "--rows", 1, "--callers", callers, "--seconds", seconds, "--budgets", _PATIENT_MS,
                   "--pids", *_flat(pids))  # fmt: skip
    [tally] = found["by_budget_ms"].values()
    return Called(name, callers, tally["rows_per_second"], tally["p50_ms"], _cpu(found, pids))


def _flat(pids: Processes) -> list[str]:
    return [str(pid) for of_kind in pids.values() for pid in of_kind]


def _cpu(found: dict[str, Any], pids: Processes) -> dict[str, float]:
    cpu = {kind: sum(found["cpu_us"][str(pid)] for pid in of_kind) for kind, of_kind in pids.items()}
    return {"client": found["cpu_us"][found["client"]]} | cpu


def _asked(rival: Rival, *arguments: object) -> dict[str, Any]:
    done = subprocess.run(_load(rival, "--exchange", *arguments), check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    _refuse_wrong(rival, found["by_budget_ms"].values())
    return found


def _load(rival: Rival, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.bench.model.load", rival.target, *map(str, arguments)]


def _closed(rival: Rival, way: str, callers: int, tally: dict[str, Any]) -> Closed:
    outcomes = tally["outcomes"]
    unanswered = sum(count for outcome, count in outcomes.items() if outcome != "OK")
    return Closed(rival.name, way, callers, tally["rows_per_second"], tally["p50_ms"], tally["p99_ms"], unanswered)


def _refuse_wrong(rival: Rival, tallies: Iterable[dict[str, Any]]) -> None:
    for tally in tallies:
        if tally["outcomes"].get("WRONG"):
            raise SystemExit(f"{rival.name} answered wrongly: {tally}")
