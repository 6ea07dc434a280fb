"""A service of two processes is restarted under load, and no call fails by it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from pathlib import Path

import pytest

from services.cli.supervision.state import restarting
from services.cli.targets import SERVICES
from tests.integration.fleet.conftest import Fleet, busy
from tests.support.commands import run
from tests.worlds.resources import values
from tests.worlds.sandbox import Sandbox, eventually

NAMES = ["registry", "features", "features-2", "model", "model-2", "gateway", "gateway-2"]


@pytest.mark.slow
async def test_every_service(fleet: Fleet, own: Sandbox) -> None:
    """Every process is another one afterwards, its callers have found it, and every call was answered rightly."""
    before = {service: fleet.pids(service) for service in SERVICES}
    async with busy(own) as calls:
        code, out, err = await fleet.restart()
        await calls.more()
    assert (0, NAMES) == (code, [line.split()[0] for line in out.splitlines()]), err
    assert "registry is one process: predictions go on while it is away" in err
    calls.flawless()
    for service in SERVICES:
        assert len(before[service]) == len(fleet.pids(service))
        assert not {*before[service]} & {*fleet.pids(service)}


@pytest.mark.slow
async def test_writes_go_on(fleet: Fleet, own: Sandbox) -> None:
    """Rows are written one after the other while the feature services are restarted, and all of them are there."""
    written: list[int] = []

    async def write() -> None:
        for number in itertools.count():
            await own.write("rider", {"rider_id": [f"w{number}"]}, {"tens": [float(number)]})
            written.append(number)

    writing = asyncio.create_task(write())
    code, _, err = await fleet.restart("features")
    assert 0 == code, err
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    for first in range(0, len(written), 256):
        numbers = written[first : first + 256]
        answer = await own.predict("ride", {"rider_id": [f"w{number}" for number in numbers]})
        assert list(map(float, numbers)) == values(answer.outputs[0])
        assert not answer.provenance.degradations


async def test_one_that_is_not_ready(fleet: Fleet, own: Sandbox) -> None:
    """Nothing is stopped while another process of the service could not stand in for it."""
    before = fleet.pids("model")
    os.kill(before[1], signal.SIGSTOP)
    try:
        code, out, err = await fleet.restart("model")
    finally:
        os.kill(before[1], signal.SIGCONT)
    assert (1, "") == (code, out)
    assert "error: nothing is restarted, as not all are ready: model-2: " in err
    assert before == fleet.pids("model")


async def test_another_restart(fleet: Fleet) -> None:
    """There is one at a time, and the second is told who is at work."""
    with restarting(fleet.data):
        code, out, err = await fleet.restart("gateway")
    assert (2, "") == (code, out)
    assert f"error: another `predictmesh restart` (pid {os.getpid()}) is at work on" in err


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (["banana"], 2, "no service banana: there are gateway, features, model, registry"),
        (["valkey"], 2, "no service valkey: there are"),
        (["gateway", "--timeout", "soon"], 2, "Invalid value for '--timeout': 'soon' is no duration"),
    ],
)
async def test_what_cannot_be(fleet: Fleet, arguments: list[str], code: int, fault: str) -> None:
    """It is refused with why, and nothing is restarted."""
    before = [fleet.pids(service) for service in SERVICES]
    found, out, err = await fleet.restart(*arguments)
    assert (code, "") == (found, out)
    assert fault in err
    assert before == [fleet.pids(service) for service in SERVICES]


def test_without_an_up(tmp_path: Path) -> None:
    """It says that there is nothing to restart, and where it has looked."""
    outcome = run("restart", "--data", tmp_path)
    assert (1, "") == (outcome.code, outcome.out)
    assert f"error: no `predictmesh up` runs on {tmp_path} (--data names another directory)" in outcome.err


async def test_one_that_takes_too_long(fleet: Fleet) -> None:
    """The next one is left alone; the first comes back by itself."""
    first, second = fleet.pids("gateway")
    code, out, err = await fleet.restart("gateway", "--timeout", "1ms")
    assert (1, "") == (code, out)
    assert f"error: gateway (pid {first}) has not ended after 0.001 s" in err

    async def back() -> bool:
        return len(fleet.pids("gateway")) == 2 and first not in fleet.pids("gateway")

    await eventually(back, "another first one")
    assert second == fleet.pids("gateway")[1]

    async def ready() -> bool:
        return (await asyncio.to_thread(run, "status", *fleet.at)).code == 0

    await eventually(ready, "all to be ready")
