"""The mesh and its Redis as containers of testcontainers, as the tests of those who build upon predictmesh may start them.

With DOCKER_HOST the engine is the one that it names, and the images are those that `make images` has built there.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from redis import Redis
from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy

from tests.support.base_images import REDIS
from tests.support.manifests import SERVICES
from tests.support.podman import Podman
from tests.worlds.mesh import Addresses, connect
from tests.worlds.models import echo
from tests.worlds.resources import field, values, view
from tests.worlds.sandbox import NOON_US, Sandbox, sandbox

PORTS = {"gateway": (50051, 8080), "features": (50052, 8082), "model": (50053, 8083), "registry": (50054, 8084)}
PEERS = {"gateway": ("registry", "features", "model"), "features": ("registry",), "model": ("registry",)}
STATE = "/var/lib/predictmesh"


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest) -> Iterator[Mapping[str, str]]:
    """The images of the services, in the engine that testcontainers talks to."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        if "DOCKER_HOST" not in os.environ:
            engine: Podman = request.getfixturevalue("engine")
            patch.setenv("DOCKER_HOST", stack.enter_context(engine.socket()))
            # Its image cannot be pulled; what it would remove goes with the engine.
            patch.setattr(testcontainers_config, "ryuk_disabled", True)
            # Where the tests run in a container themselves, it would look for theirs in this engine.
            patch.setattr(testcontainers_config, "connection_mode_override", ConnectionMode.docker_host)
            yield request.getfixturevalue("images")
            return
        project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
        yield {service: f"predictmesh/{service}:{project['version']}" for service in SERVICES}


@pytest.fixture(scope="module")
def containers(built: Mapping[str, str]) -> Iterator[Mapping[str, DockerContainer]]:
    """Redis and the four services in a network of their own, each by its name; they share a volume."""
    with Network() as network, ExitStack() as stack:

        def start(name: str, container: DockerContainer) -> DockerContainer:
            named = container.with_network(network).with_network_aliases(name)
            return stack.enter_context(named)

        started = {"redis": start("redis", DockerContainer(REDIS).with_exposed_ports(6379))}
        for service in ("registry", "features", "model", "gateway"):
            started[service] = start(service, _container(service, built[service], f"state-{network.name}"))
        for service in SERVICES:
            ready = HttpWaitStrategy(PORTS[service][1], "/readyz").for_status_code(200).with_poll_interval(0.1)
            ready.wait_until_ready(started[service])
        yield started


def _container(service: str, image: str, volume: str) -> DockerContainer:
    settings = {peer: f"{peer}:{PORTS[peer][0]}" for peer in PEERS.get(service, ())}
    if service == "features":
        settings["redis_url"] = "redis://redis:6379"
    container = DockerContainer(image, read_only=True).with_exposed_ports(*PORTS[service])
    container.with_volume_mapping(volume, STATE, "rw")
    return container.with_envs(**{f"PREDICTMESH_{service}_{name}".upper(): text for name, text in settings.items()})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def within(containers: Mapping[str, DockerContainer]) -> AsyncIterator[Sandbox]:
    """A namespace in that mesh."""
    addresses = {service: _address(containers[service], PORTS[service][0]) for service in SERVICES}
    async with connect(Addresses(**addresses)) as mesh, sandbox(mesh) as opened:
        yield opened


def _address(container: DockerContainer, port: int) -> str:
    return f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}"


async def test_prediction_of_what_lies_in_redis(within: Sandbox, containers: Mapping[str, DockerContainer]) -> None:
    """What is written over gRPC lies in Redis, and the model sees it."""
    host, _, port = _address(containers["redis"], 6379).partition(":")
    with Redis(host=host, port=int(port)) as redis:
        assert not redis.keys("pm:*")
        await within.view(view("rider", field("trips"), entity="rider", keys={"rider_id": "STRING"}))
        await within.serve("ride", echo(x=("FP32", (1,))), {"x": ["rider:trips"]})
        await within.write("rider", {"rider_id": ["one"]}, {"trips": [12.0]}, at_us=NOON_US)
        (key,) = redis.keys("pm:*")
        assert within.full("rider").encode() in key
    answer = await within.predict("ride", {"rider_id": ["one"]})
    assert [12.0] == values(answer.outputs[0])
