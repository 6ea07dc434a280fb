"""Closed-loop pressure by h2load: what it measures is the servers.

h2load does not look at what it gets. So the gateway's own counters must show as many good calls as it had answers and
no failed one, and a slow checking client beside it compares every answer that it gets (`checked`).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.bench import h2load
from tests.bench.load import EMPTY, PREDICT, cpu_seconds
from tests.bench.rivals import Rival

_COUNT = re.compile(
    r'rpc_server_call_duration_seconds_count{rpc_method="Predict",rpc_status_code="(\w+)",.*} ([\d.e+]+)'
)


@dataclass(frozen=True)
class Pressed:
    """What came of it. CPU is in microseconds an answer, by process."""

    answered: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[int, float]


def press(rival: Rival, requests: Sequence[bytes], callers: int, calls: int) -> Pressed:
    """Make `calls` calls, `callers` at a time; raises SystemExit if an answer was wrong or failed."""
    pids = [pid for found in rival.pids.values() for pid in found]
    path, messages = (EMPTY, [b""]) if rival.http == "" else (PREDICT, requests)
    statuses, before = _statuses(rival), cpu_seconds(pids)
    checker = _checker(rival)
    found = h2load.call(rival.target, path, messages, callers, calls)
    after = cpu_seconds(pids)
    _check(rival, checker, statuses, found.count)
    p50, p99 = np.percentile(found.latencies_ms, (50, 99))
    return Pressed(
        found.count,
        found.count / found.seconds,
        float(p50),
        float(p99),
        {pid: (after[pid] - before[pid]) / found.count * 1e6 for pid in pids},
    )


def _checker(rival: Rival) -> subprocess.Popen[str] | None:
    if rival.http == "":
        return None
    command = [sys.executable, "-m", "tests.bench.load", rival.target, "--callers", "1", "--pause", "0.05",
               "--seconds", "0.5"]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _statuses(rival: Rival) -> dict[str, float]:
    if rival.http == "":
        return {}
    with urllib.request.urlopen(f"http://{rival.http}/metrics") as answer:
        return {code: float(count) for code, count in _COUNT.findall(answer.read().decode())}


def _check(rival: Rival, checker: subprocess.Popen[str] | None, before: dict[str, float], answered: int) -> None:
    if checker is None:
        return
    checked = json.loads(checker.communicate()[0])
    if checked["wrong"] or checked["failed"] or not checked["answered"]:
        raise SystemExit(f"{rival.name}: the checking client found {checked}")
    calls = {code: count - before.get(code, 0) for code, count in _statuses(rival).items()}
    if calls.get("OK", 0) < answered or any(count for code, count in calls.items() if code != "OK"):
        raise SystemExit(f"{rival.name}: h2load counted {answered} answers, the gateway {calls}")
