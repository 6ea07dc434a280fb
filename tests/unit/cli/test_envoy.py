"""`predictmesh envoy` ends well when it is told to, and says so when Envoy ends by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.commands import run

# A program in place of Envoy. It is asked whether it is ready when signals are handed on to it, and not before.
PROGRAM = """
import http.server, os, signal, sys

class Admin(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self):
        self.send_response(self.status)
        self.end_headers()

def asked(status):
    Admin.status = status
    admin.handle_request()

def wait():
    while True:
        signal.pause()

admin = http.server.HTTPServer(("127.0.0.1", 0), Admin)
with open(sys.argv[sys.argv.index("--admin-address-path") + 1], "w") as file:
    file.write(f"127.0.0.1:{admin.server_port}")
"""
# The command with that program.
COMMAND = """
import sys
from pathlib import Path
from services.cli import envoy
from services.cli.__main__ import main
envoy.find = lambda: Path(sys.argv[1])
main(["envoy", "--gateway", "localhost:50051,127.0.0.1:50061", "--data", *sys.argv[2:]])
"""


def envoy(directory: Path, *does: str, told: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command, told this as well, with an Envoy that does that."""
    program = directory / "envoy.py"
    program.write_text("\n".join([f"#!{sys.executable} -IS", PROGRAM, *does]))
    program.chmod(0o755)
    line = [sys.executable, "-c", COMMAND, str(program), str(directory), *told]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("does", "ready", "told"),
    [
        (["print('no room', flush=True)", "os.kill(os.getpid(), signal.SIGKILL)"], 0, ["SIGKILL", "no room"]),
        (["print('bad file', flush=True)", "sys.exit(1)"], 0, ["status 1", "bad file"]),
        (["asked(200)", "print('a bug', file=sys.stderr, flush=True)", "sys.exit(7)"], 1, ["status 7", "a bug"]),
        (["asked(200)", "os.kill(os.getpid(), signal.SIGABRT)"], 1, ["SIGABRT"]),
    ],
    ids=["killed before it was ready", "refused to start", "ended later", "crashed later"],
)
def test_end_by_itself_is_a_failure(tmp_path: Path, does: list[str], ready: int, told: list[str]) -> None:
    """One line says how it ended and what the log says last, whether it had been ready or not."""
    done = envoy(tmp_path, *does)
    assert (1, 1) == (done.returncode, done.stderr.count("\n")), done.stderr
    assert ready == len(done.stdout.splitlines())
    assert all(part in done.stderr for part in (*told, str(tmp_path / "envoy" / "log")))


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_stop_before_it_is_ready(tmp_path: Path, number: str) -> None:
    """Ctrl-C is no failure, however early."""
    done = envoy(tmp_path, "asked(503)", f"os.kill(os.getppid(), signal.{number})", "wait()")
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_one_that_hangs_is_killed_when_it_is_told_again(tmp_path: Path) -> None:
    """The first signal asks it to end, the second does not ask."""
    again = "signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGINT))"
    done = envoy(tmp_path, again, "asked(200)", "os.kill(os.getppid(), signal.SIGINT)", "wait()")
    assert (0, "") == (done.returncode, done.stderr)
    assert "localhost:50051,127.0.0.1:50061" == json.loads(done.stdout)["gateway"]


@pytest.mark.parametrize("gateway", ["localhost", "localhost:http", "localhost:0", ":50051", "a:1,,b:2", "a:1,b:70000"])
def test_addresses_of_gateways(tmp_path: Path, gateway: str) -> None:
    """Each one has a host and a port."""
    outcome = run("envoy", "--gateway", gateway, "--data", tmp_path)
    assert (2, 1) == (outcome.code, outcome.err.count("\n"))
    assert "--gateway" in outcome.err
    assert "is not HOST:PORT" in outcome.err


@pytest.mark.parametrize("ports", ["8080", "8080,8081,8082", "8080,http", "8080,", "8080,0"])
def test_http_ports_of_gateways(tmp_path: Path, ports: str) -> None:
    """There is one for each."""
    outcome = run("envoy", "--gateway", "a:1,b:2", "--http-port", ports, "--data", tmp_path)
    assert (2, 1) == (outcome.code, outcome.err.count("\n"))
    assert "--http-port" in outcome.err


@pytest.mark.parametrize(
    ("told", "ports", "way"),
    [((), [None, None], "grpc_health_check"), (("--http-port", "8080,8110"), [8080, 8110], "http_health_check")],
)
def test_health_is_asked_by_http_where_the_ports_are_known(
    tmp_path: Path, told: tuple[str, ...], ports: list[int | None], way: str
) -> None:
    """By gRPC otherwise, where a check may be refused with the calls: a gateway has to fail more often then."""
    assert 0 == envoy(tmp_path, "asked(200)", told=told).returncode
    [cluster] = json.loads((tmp_path / "envoy" / "envoy.json").read_text())["static_resources"]["clusters"]
    [each] = cluster["load_assignment"]["endpoints"]
    found = [host["endpoint"].get("health_check_config", {}).get("port_value") for host in each["lb_endpoints"]]
    [check] = cluster["health_checks"]
    assert ports == found
    assert way in check
    assert (check["unhealthy_threshold"] > 2) == (way == "grpc_health_check")
