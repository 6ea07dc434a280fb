"""Calls by h2load, which costs a tenth of a Python client. It does not look at grpc-status: others must."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

# So many processes share the callers, each with a message of its own, and over gRPC with one connection.
CONNECTIONS = 8
_DONE = re.compile(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_BODY = re.compile(r"traffic: .* \((\d+)\) data")


@dataclass(frozen=True)
class Answers:
    """How many calls came to an end, well or not, in how many seconds, and how long each took in milliseconds.

    `body_bytes` is what all of them brought, without headers.
    """

    count: int
    seconds: float
    latencies_ms: npt.NDArray[np.float64]
    body_bytes: int


def call(
    target: str, path: str, messages: Sequence[bytes], callers: int, calls: int, timeout_ms: int | None = None
) -> Answers:
    """Make `calls` gRPC calls, `callers` at a time; raises SystemExit unless each was answered somehow.

    `target` may be several addresses with commas between them, which the processes take by turns.
    """
    deadline = [] if timeout_ms is None else ["-H", f"grpc-timeout: {timeout_ms}m"]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers", *deadline]
    bodies = [struct.pack(">BI", 0, len(message)) + message for message in messages]
    options = ["-c1", *headers]
    return _run(
        lambda streams: [*options, "-m", str(streams)], [f"http://{each}{path}" for each in target.split(",")],
        bodies, callers, calls,
    )  # fmt: skip


def post(target: str, path: str, bodies: Sequence[bytes], callers: int, calls: int) -> Answers:
    """Make `calls` calls over HTTP/1.1 with JSON, a connection each caller; raises SystemExit unless all succeed."""
    options = ["--h1", "-m1", "-H", "content-type: application/json"]
    return _run(lambda clients: [*options, "-c", str(clients)], [f"http://{target}{path}"], bodies, callers, calls)


def _run(
    options: Callable[[int], list[str]], urls: Sequence[str], bodies: Sequence[bytes], callers: int, calls: int
) -> Answers:
    """Run the processes; `options` says how one makes its share of the callers."""
    program = shutil.which("h2load")
    if program is None:
        raise SystemExit("the bench needs h2load; on Debian: apt-get install nghttp2-client")
    count = min(callers, CONNECTIONS)
    with tempfile.TemporaryDirectory() as directory:
        commands = [
            [program, "-n", str(calls // count), *_files(Path(directory), number, bodies[number * 37 % len(bodies)]),
             *options(callers // count), urls[number % len(urls)]]
            for number in range(count)
        ]  # fmt: skip
        start = time.perf_counter()
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
        outputs = [process.communicate()[0] for process in running]
        seconds = time.perf_counter() - start
        logs = [np.loadtxt(log, usecols=2, ndmin=1) for log in Path(directory).glob("*.log")]
    answered = sum(_answered(output) for output in outputs)
    body = sum(int(found[1]) for output in outputs if (found := _BODY.search(output)))
    return Answers(answered, seconds, np.concatenate(logs) / 1e3, body)


def _files(directory: Path, number: int, body: bytes) -> list[str]:
    path = directory / f"{number}.bin"
    path.write_bytes(body)
    return ["-d", str(path), "--log-file", str(directory / f"{number}.log")]


def _answered(output: str) -> int:
    found = _DONE.search(output)
    if found is None or int(found[2]) + int(found[3]) + int(found[4]):
        raise SystemExit(f"h2load: {output}")
    return int(found[1])
