"""The HTTP port answers probes and scrapes, also while the event loop hangs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from http.client import HTTPConnection
from typing import Any

import pytest

from services.mesh import http
from services.mesh.http import HttpPort


class State:
    """What a service says of itself."""

    why_not = ""
    threads: set[int]

    def __init__(self) -> None:
        self.threads = set()

    def ready(self) -> str:
        self.threads.add(threading.get_ident())
        return self.why_not

    def status(self) -> dict[str, object]:
        self.threads.add(threading.get_ident())
        return {"name": "probe", "versions": ["1.0.0"]}


@pytest.fixture
def state() -> State:
    """The state that is shown."""
    return State()


@pytest.fixture
async def port(state: State) -> HttpPort:
    """A port that is not open yet."""
    return HttpPort("127.0.0.1", 0, ready=state.ready, status=state.status)


@pytest.fixture
async def address(port: HttpPort) -> Any:
    """Where the port listens."""
    with port:
        yield port.address


def _get(address: str, path: str) -> tuple[int, str]:
    connection = HTTPConnection(address, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


async def get(address: str, path: str) -> tuple[int, Any]:
    """Return status and JSON body."""
    status, body = await asyncio.to_thread(_get, address, path)
    return status, json.loads(body)


async def test_healthz(address: str) -> None:
    """A process whose loop turns is alive."""
    assert (200, {"alive": True}) == await get(address, "/healthz")


async def test_readyz_says_why_not(address: str, state: State) -> None:
    """Readiness has a reason while it is missing."""
    assert (200, {"ready": True, "reason": ""}) == await get(address, "/readyz")
    state.why_not = "no snapshot yet"
    assert (503, {"ready": False, "reason": "no snapshot yet"}) == await get(address, "/readyz")


async def test_statusz(address: str) -> None:
    """The status is shown as the service gives it."""
    assert (200, {"name": "probe", "versions": ["1.0.0"]}) == await get(address, "/statusz")


async def test_state_is_read_in_the_loop(address: str, state: State) -> None:
    """A service need not guard its state against threads."""
    await get(address, "/readyz")
    await get(address, "/statusz")
    assert {threading.get_ident()} == state.threads


async def test_metrics(address: str) -> None:
    """Prometheus can scrape."""
    status, body = await asyncio.to_thread(_get, address, "/metrics")
    assert 200 == status
    assert "# TYPE rpc_server_call_duration_seconds histogram" in body


async def test_unknown_path(address: str) -> None:
    """A wrong path is told the right ones."""
    status, body = await get(address, "/nope")
    assert 404 == status
    assert "/readyz" in body["error"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/statusz"])
async def test_hanging_loop_is_not_alive(address: str, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """While the loop does not turn, probes fail and metrics can still be had; afterwards all is well again."""
    monkeypatch.setattr(http, "LIVENESS_LIMIT_S", 0.1)
    answers: list[tuple[int, str]] = []
    probing = threading.Thread(target=lambda: answers.extend((_get(address, path), _get(address, "/metrics"))))
    probing.start()
    probing.join(20)  # blocks the loop, as a handler without an await would
    assert [503, 200] == [status for status, _ in answers]
    assert json.loads(answers[0][1])["alive"] is False
    monkeypatch.undo()
    assert 200 == (await get(address, "/healthz"))[0]


async def test_taken_port_is_an_error(address: str, state: State) -> None:
    """A second listener on the port is refused."""
    with pytest.raises(OSError, match="in use"):
        HttpPort("127.0.0.1", int(address.rsplit(":", 1)[1]), ready=state.ready, status=state.status)


async def test_port_is_free_after_use(port: HttpPort, state: State) -> None:
    """A closed port can be had again at once."""
    with port:
        await get(port.address, "/healthz")
    start = time.monotonic()
    with HttpPort("127.0.0.1", int(port.address.rsplit(":", 1)[1]), ready=state.ready, status=state.status):
        pass
    assert time.monotonic() - start < 5
