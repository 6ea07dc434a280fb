"""The CPU overlay of deploy/kubernetes, run by `podman play kube` with the images of this tree."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
import pytest_asyncio

from tests.support.manifests import SERVICES, Mix, rendered
from tests.support.podman import Podman
from tests.support.pods import Pods, played
from tests.worlds.mesh import Addresses, connect
from tests.worlds.models import echo
from tests.worlds.resources import field, values, view
from tests.worlds.sandbox import NOON_US, Sandbox, eventually, sandbox

PORTS = {"gateway": 50051, "features": 50052, "model": 50053, "registry": 50054}
# Nine pods start at the same time.
START_LIMIT_S = 120
# What a process of a pod says of itself.
CONFESSION = """
import errno, importlib.util, json, os, pathlib, shutil

def fault(path):
    try:
        pathlib.Path(path, "written").touch()
    except OSError as error:
        return errno.errorcode[error.errno]

status = dict(line.split(":", 1) for line in open("/proc/1/status"))
print(json.dumps({
    "user": int(status["Uid"].split()[0]),
    "capabilities": int(status["CapEff"], 16),
    "may_gain_more": status["NoNewPrivs"].strip() != "1",
    "faults": {path: fault(path) for path in ("/", "/app", "/app/services/mesh", "/var/lib/predictmesh")},
    "shell": shutil.which("sh") or shutil.which("bash"),
    "installer": bool(importlib.util.find_spec("pip")),
    "services": sorted(name for name in os.listdir("/app/services") if not name.startswith("_")),
}))
"""


@pytest.fixture(scope="module")
def pods(engine: Podman, images: Mapping[str, str]) -> Iterator[Pods]:
    """The pods of the overlay; it asks for the images by the names that the build gives them."""
    resources = rendered(Mix("cpu"))
    assert set(images.values()) <= {template.main["image"] for template in resources.templates()}
    with played(engine, resources) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def within(pods: Pods) -> AsyncIterator[Sandbox]:
    """A namespace in the mesh of the pods, once every service of it serves."""
    for service in SERVICES:
        for container in pods.containers(service):

            async def healthy(container: str = container, service: str = service) -> bool:
                return _is_healthy(pods, container, service)

            await eventually(healthy, f"{container} healthy", START_LIMIT_S)
    addresses = {
        service: ",".join(f"{address}:{PORTS[service]}" for address in pods.addresses(service)) for service in SERVICES
    }
    async with connect(Addresses(**addresses)) as mesh, sandbox(mesh) as opened:
        yield opened


async def test_pods_answer_a_prediction(within: Sandbox) -> None:
    """Each gateway finds features and models by the names of their Services, and answers from what is stored."""
    await within.view(view("rider", field("trips", default=1.5), entity="rider", keys={"rider_id": "STRING"}))
    await within.model("ride")
    await within.register("ride", "1.0.0", echo(x=("FP32", (2,))), {"x": ["rider:trips", "request:hour"]})
    await within.until_runtime("ride", "1.0.0", processes=2)
    await within.endpoint("ride", "ride", version="1.0.0")
    await within.write("rider", {"rider_id": ["one"]}, {"trips": [12.0]}, at_us=NOON_US)
    for _ in within.mesh.addresses.gateway.split(","):
        answer = await within.predict("ride", {"rider_id": ["one"]}, {"hour": [7.0]})
        assert [12.0, 7.0] == values(answer.outputs[0])
        assert ("1.0.0", "onnx") == (answer.provenance.version, answer.provenance.runtime)


@pytest.mark.parametrize("service", SERVICES)
async def test_process_may_do_nothing_but_its_work(within: Sandbox, pods: Pods, service: str) -> None:
    """It is nobody in particular, has no capability, writes to its own directory alone, and finds no shell."""
    for container in pods.containers(service):
        told = json.loads(pods.engine.run("exec", container, "python3", "-c", CONFESSION))
        assert told.pop("user") > 0
        assert {
            "capabilities": 0,
            "may_gain_more": False,
            "faults": {"/": "EROFS", "/app": "EROFS", "/app/services/mesh": "EROFS", "/var/lib/predictmesh": None},
            "shell": None,
            "installer": False,
            "services": sorted(["mesh", service]),
        } == told


def _is_healthy(pods: Pods, container: str, service: str) -> bool:
    """Run the image's own health check, as an engine does that minds them."""
    (template,) = [each for each in pods.resources.templates() if each.name == service]
    check = pods.engine.inspect(template.main["image"])["Healthcheck"]["Test"]
    assert "CMD" == check[0]
    return pods.engine.attempt("exec", container, *check[1:]).returncode == 0
