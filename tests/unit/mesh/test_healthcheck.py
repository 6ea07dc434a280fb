"""What container engines run to know whether a service is ready."""

from __future__ import annotations

import asyncio
import sys

import pytest

from services.mesh.healthcheck import main
from services.mesh.http import HttpPort

SAID = [("", 0), ("no snapshot of the definitions yet", 1)]


def check(monkeypatch: pytest.MonkeyPatch, http_port: int) -> int:
    """Run the check of a gateway; its exit status."""
    monkeypatch.setattr(sys, "argv", ["healthcheck", "gateway", str(http_port)])
    return main()


@pytest.mark.parametrize(("reason", "exit_status"), SAID)
async def test_readiness_is_believed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reason: str, exit_status: int
) -> None:
    """A process that lives and is not ready is not healthy, and says why."""
    with HttpPort("127.0.0.1", 0, ready=lambda: reason, status=dict) as http:
        port = int(http.address.rpartition(":")[2])
        assert exit_status == await asyncio.to_thread(check, monkeypatch, port)
    assert reason in capsys.readouterr().err


def test_nobody_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is told."""
    assert 1 == check(monkeypatch, 1)
    assert "Connection refused" in capsys.readouterr().err


async def test_variable_of_the_port_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service goes by it, too."""
    with HttpPort("127.0.0.1", 0, ready=lambda: "", status=dict) as http:
        monkeypatch.setenv("PREDICTMESH_GATEWAY_HTTP_PORT", http.address.rpartition(":")[2])
        assert 0 == await asyncio.to_thread(check, monkeypatch, 1)
