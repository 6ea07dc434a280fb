"""Closed-loop pressure by h2load, which costs a tenth of a Python client: what it measures is the servers.

h2load does not look at grpc-status. So the gateway's own counters must show as many good calls as it had answers and no
failed one, and a slow checking client beside it compares every answer that it gets (`checked`).
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.bench.load import EMPTY, PREDICT, cpu_seconds
from tests.bench.rivals import Rival

# The callers share these connections; each connection asks for keys of its own.
CONNECTIONS = 8
_DONE = re.compile(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
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
    program = shutil.which("h2load")
    if program is None:
        raise SystemExit("the bench needs h2load; on Debian: apt-get install nghttp2-client")
    pids = [pid for found in rival.pids.values() for pid in found]
    with tempfile.TemporaryDirectory() as directory:
        commands = _commands(program, rival, requests, callers, calls, Path(directory))
        statuses, before = _statuses(rival), cpu_seconds(pids)
        checker, start = _checker(rival), time.perf_counter()
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
        answered = sum(_answered(process.communicate()[0]) for process in running)
        after, elapsed = cpu_seconds(pids), time.perf_counter() - start
        _check(rival, checker, statuses, answered)
        latencies = np.concatenate([np.loadtxt(log, usecols=2, ndmin=1) for log in Path(directory).glob("*.log")])
    return Pressed(
        answered,
        answered / elapsed,
        float(np.percentile(latencies, 50) / 1e3),
        float(np.percentile(latencies, 99) / 1e3),
        {pid: (after[pid] - before[pid]) / answered * 1e6 for pid in pids},
    )


def _commands(
    program: str, rival: Rival, requests: Sequence[bytes], callers: int, calls: int, directory: Path
) -> list[list[str]]:
    connections = min(callers, CONNECTIONS)
    path = EMPTY if rival.http == "" else PREDICT
    commands = []
    for number in range(connections):
        body = directory / f"{number}.bin"
        message = b"" if rival.http == "" else requests[number * 37 % len(requests)]
        body.write_bytes(struct.pack(">BI", 0, len(message)) + message)
        commands.append(
            [program, "-c1", "-m", str(callers // connections), "-n", str(calls // connections), "-d", str(body),
             "--log-file", str(directory / f"{number}.log"), "-H", "content-type: application/grpc",
             "-H", "te: trailers", f"http://{rival.target}{path}"]
        )  # fmt: skip
    return commands


def _answered(output: str) -> int:
    found = _DONE.search(output)
    if found is None or int(found[2]) + int(found[3]) + int(found[4]):
        raise SystemExit(f"h2load: {output}")
    return int(found[1])


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
