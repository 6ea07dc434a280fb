"""gRPC calls by h2load, which costs a tenth of a Python client. It does not look at grpc-status: others must."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

# The callers share these connections; each connection asks for one message of its own.
CONNECTIONS = 8
_DONE = re.compile(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")


@dataclass(frozen=True)
class Answers:
    """How many calls came to an end, well or not, in how many seconds, and how long each took in milliseconds."""

    count: int
    seconds: float
    latencies_ms: npt.NDArray[np.float64]


def call(
    target: str, path: str, messages: Sequence[bytes], callers: int, calls: int, timeout_ms: int | None = None
) -> Answers:
    """Make `calls` calls, `callers` at a time; raises SystemExit unless each was answered somehow."""
    program = shutil.which("h2load")
    if program is None:
        raise SystemExit("the bench needs h2load; on Debian: apt-get install nghttp2-client")
    with tempfile.TemporaryDirectory() as directory:
        connections = min(callers, CONNECTIONS)
        each = ["-m", str(callers // connections), "-n", str(calls // connections)]
        deadline = [] if timeout_ms is None else ["-H", f"grpc-timeout: {timeout_ms}m"]
        commands = [
            [program, *each, *deadline, *_message(Path(directory), number, messages[number * 37 % len(messages)]),
             "-c1", "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{target}{path}"]
            for number in range(connections)
        ]  # fmt: skip
        start = time.perf_counter()
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
        count = sum(_answered(process.communicate()[0]) for process in running)
        seconds = time.perf_counter() - start
        logs = [np.loadtxt(log, usecols=2, ndmin=1) for log in Path(directory).glob("*.log")]
    return Answers(count, seconds, np.concatenate(logs) / 1e3)


def _message(directory: Path, number: int, message: bytes) -> list[str]:
    body = directory / f"{number}.bin"
    body.write_bytes(struct.pack(">BI", 0, len(message)) + message)
    return ["-d", str(body), "--log-file", str(directory / f"{number}.log")]


def _answered(output: str) -> int:
    found = _DONE.search(output)
    if found is None or int(found[2]) + int(found[3]) + int(found[4]):
        raise SystemExit(f"h2load: {output}")
    return int(found[1])
