"""Open-loop load as a process of its own: calls arrive by chance at a rate that does not care how they fare.

Latency counts from when a call was due, so that a server that stalls is charged for all who arrive meanwhile. Every
status is counted, every answer compared. A call costs the generator 40 us, where one of k6 costs 300 us.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench import workload
from tests.bench.arrivals import Offered, Open, OpenLoop, connecting
from tests.bench.client import Client
from tests.bench.frames import Answered
from tests.bench.h2load import CONNECTIONS

_LONGEST_S = 300.0


def offer(
    target: str, rate: float, seconds: float, *, rows: int = 1, connections: int = CONNECTIONS,
    headers: Sequence[str] = (), timeout_ms: int = 1000, pids: Sequence[int] = (),
) -> Offered:  # fmt: skip
    """Ask gateways at `target` (addresses by commas) for the workload; `headers` as "name: value"."""
    options = ["--rows", str(rows), "--connections", str(connections), "--timeout-ms", str(timeout_ms),
               *(part for header in headers for part in ("--header", header)), "--pids", *map(str, pids)]  # fmt: skip
    with _generator(target, rate, seconds, options) as process:
        return _offered(process)


@contextmanager
def offering(target: str, rate: float) -> Iterator[Callable[[], Offered]]:
    """Offer load by gRPC's own client for the time of the context; what this gives ends it and says what came of it."""
    with _generator(target, rate, _LONGEST_S, ["--until-closed", "--client"]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield lambda: _offered(process)


@contextmanager
def _generator(target: str, rate: float, seconds: float, options: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.bench.openloop", target, "--rate", str(rate), "--seconds", str(seconds)]
    with subprocess.Popen([*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _offered(process: subprocess.Popen[str]) -> Offered:
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit("the open-loop generator failed")
    found = json.loads(output.splitlines()[-1])
    return Offered(**found | {"cpu_us": {int(pid): used for pid, used in found["cpu_us"].items()}})


def _loop() -> asyncio.AbstractEventLoop:
    """Wake at the microsecond that was asked for; epoll, and so uvloop, wakes at the millisecond."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        requests = workload.make(Path(directory)).requests(arguments.rows)
    loop = OpenLoop(requests, _opening(arguments))
    if arguments.until_closed:
        asyncio.get_running_loop().add_reader(sys.stdin, loop.stop)
    connections = 1 if arguments.client else arguments.connections
    return asdict(await loop.run(arguments.rate, arguments.seconds, connections, arguments.pids))


def _opening(arguments: argparse.Namespace) -> Open:
    headers = dict(header.split(": ", 1) for header in arguments.header)
    if not arguments.client:
        return connecting(arguments.target.split(","), {"grpc-timeout": f"{arguments.timeout_ms}m", **headers})

    async def open_(number: int, answered: Answered) -> Client:
        return Client(arguments.target, headers, arguments.timeout_ms / 1e3, answered)

    return open_


def main() -> None:
    """Offer load to a target and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="HOST:PORT of gateways, by commas")
    parser.add_argument("--rate", type=float, required=True, help="calls a second")
    parser.add_argument("--seconds", type=float, required=True, help="counted time, after half a second that is not")
    parser.add_argument(
        "--client", action="store_true", help="call by gRPC's own client, which watches the gateways' health"
    )
    parser.add_argument("--until-closed", action="store_true", help="end earlier, when stdin is closed")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--timeout-ms", type=int, default=1000)
    parser.add_argument("--header", action="append", default=[], help='"name: value", also several times')
    parser.add_argument("--pids", type=int, nargs="*", default=[], help="processes whose CPU to report")
    with asyncio.Runner(loop_factory=_loop) as runner:
        print(json.dumps(runner.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
