"""Starts the other stacks as processes, with as many workers as suit them, and stops them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

from tests.bench.rivals import START_LIMIT_S, Rival
from tests.bench.stacks import stored
from tests.bench.workload import Workload
from tests.worlds.ports import port_row

ENVIRONMENT = Path(sys.prefix) / "rivals"
_THREADS = 8


@dataclass(frozen=True)
class Parts:
    """What they all work with: the store's URL and the model's file."""

    redis_url: str
    model: Path

    def store(self, work: Workload) -> None:
        """Write the features as the other stacks read them, beside our own."""
        with redis.Redis.from_url(self.redis_url) as store:
            store.mset(dict(stored.packed(work.values)))

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which the stacks find both, and themselves."""
        return os.environ | {
            "BENCH_REDIS": self.redis_url,
            "BENCH_MODEL": str(self.model),
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }


def all_stacks(parts: Parts) -> list[AbstractContextManager[Rival]]:
    """Return every stack, not yet started; FastAPI by one worker, and by as many as there are cores."""
    workers = sorted({1, os.cpu_count() or 1})
    return [flask_pair(parts), grpc_mesh(parts), *(fastapi_monolith(parts, count) for count in workers)]


@contextmanager
def flask_pair(parts: Parts) -> Iterator[Rival]:
    """Gateway and prediction service on gunicorn, each with a worker of eight threads a core."""
    with ExitStack() as stack:
        prediction, prediction_pids = stack.enter_context(_gunicorn("flask_prediction", parts.environment))
        environment = parts.environment | {"BENCH_PREDICTION": f"http://{prediction}"}
        gateway, pids = stack.enter_context(_gunicorn("flask_gateway", environment))
        yield Rival("Flask pair", gateway, "", {"gateway": pids, "prediction": prediction_pids}, speaks="http")


def fastapi_name(workers: int) -> str:
    """Return what the application is called in tables."""
    return f"FastAPI, {workers} worker{'s' * (workers > 1)}"


@contextmanager
def fastapi_monolith(parts: Parts, workers: int) -> Iterator[Rival]:
    """The application on uvicorn."""
    port = port_row()
    command = [program("uvicorn"), "--factory", "tests.bench.stacks.fastapi_monolith:create_app", "--port", str(port),
               "--workers", str(workers), "--loop", "uvloop", "--http", "httptools", "--no-access-log",
               "--log-level", "warning"]  # fmt: skip
    with _running(command, parts.environment, port, children=workers if workers > 1 else 0) as pids:
        yield Rival(fastapi_name(workers), f"127.0.0.1:{port}", "", {"workers": pids}, speaks="http")


@contextmanager
def grpc_mesh(parts: Parts) -> Iterator[Rival]:
    """Three services over grpc.aio without anything of ours."""
    with ExitStack() as stack:
        ports, pids = {}, {}
        for service in ("features", "model", "gateway"):
            ports[service] = port_row()
            behind = [f"--{name}=127.0.0.1:{port}" for name, port in ports.items() if service == "gateway" != name]
            command = [sys.executable, "-m", "tests.bench.stacks.grpc_service", service, str(ports[service]), *behind]
            pids[service] = stack.enter_context(_running(command, parts.environment, ports[service]))
        yield Rival("naive gRPC mesh", f"127.0.0.1:{ports['gateway']}", "", pids)


@contextmanager
def _gunicorn(module: str, environment: dict[str, str]) -> Iterator[tuple[str, list[int]]]:
    port = port_row()
    command = [program("gunicorn"), f"tests.bench.stacks.{module}:create_app()", "--bind", f"127.0.0.1:{port}",
               "--workers", str(os.cpu_count()), "--worker-class", "gthread", "--threads", str(_THREADS),
               "--keep-alive", "60", "--log-level", "warning"]  # fmt: skip
    with _running(command, environment, port, children=os.cpu_count() or 1) as pids:
        yield f"127.0.0.1:{port}", pids


@contextmanager
def _running(command: Sequence[str], environment: dict[str, str], port: int, children: int = 0) -> Iterator[list[int]]:
    """Run a program until the end of the context; gives its process and those that it has started, so many at least."""
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield _await_pids(process, port, children)
        finally:
            process.terminate()
            process.wait(START_LIMIT_S)


def _await_pids(process: subprocess.Popen[bytes], port: int, children: int) -> list[int]:
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        found = psutil.Process(process.pid).children(recursive=True)
        if len(found) >= children and _listens(port):
            return [process.pid, *(child.pid for child in found)]
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} did not start")


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def program(name: str) -> str:
    """Return where a program of the environment is; raises SystemExit if it is not."""
    program = ENVIRONMENT / "bin" / name
    if not program.exists():
        raise SystemExit(f"{name} is not installed (`make rivals` does it)")
    return str(program)
