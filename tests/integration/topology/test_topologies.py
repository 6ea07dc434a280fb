"""The same platform as one process and as four: the same answers, and nothing lost over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds.mesh import connect
from tests.worlds.models import echo
from tests.worlds.resources import field, values, view
from tests.worlds.sandbox import TIMEOUT_S, Sandbox
from tests.worlds.up import Up, up

SERVICES = ("gateway", "features", "model", "registry")


def check_line(started: Up, topology: str) -> None:
    """The readiness line has the same keys either way; in the monolith they all show one process."""
    assert started.line["ready"] is True
    addresses = {started.line[service] for service in SERVICES}
    pids = {tuple(started.line["pids"][service]) for service in SERVICES}
    http = {started.line["http"][service] for service in SERVICES}
    processes = 1 if topology == "monolith" else len(SERVICES)
    assert [processes] * 3 == [len(addresses), len(pids), len(http)]


@pytest.mark.parametrize("topology", ["mesh", "monolith"])
async def test_definitions_and_features_outlive_a_restart(tmp_path: Path, topology: str) -> None:
    """Ctrl-C, and up again on the same data: the endpoint answers as before, at other ports."""
    with up(tmp_path, "--topology", topology) as started:
        check_line(started, topology)
        async with connect(started.addresses) as mesh:
            made = Sandbox(mesh)
            await made.view(view("rider", field("v"), entity="rider", keys={"rider_id": "STRING"}))
            await made.serve("ride", echo(x=("FP32", (2,))), {"x": ["rider:v", "request:x"]})
            await made.write("rider", {"rider_id": ["a"]}, {"v": [4.5]})
            request = made.request("ride", {"rider_id": ["a"]}, {"x": [1.0]})
            before = await mesh.gateway.Predict(request, timeout=TIMEOUT_S)
        assert 0 == started.stop()
    with up(tmp_path, "--topology", topology) as again:
        async with connect(again.addresses) as mesh:
            after = await mesh.gateway.Predict(request, timeout=TIMEOUT_S)
    assert [4.5, 1.0] == values(before.outputs[0])
    assert before.outputs == after.outputs
    assert before.provenance.views == after.provenance.views
    assert before.provenance.version == after.provenance.version
