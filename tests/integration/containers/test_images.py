"""Images run by themselves: what they say of themselves, and how they end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from tests.support.manifests import SERVICES
from tests.support.podman import Podman
from tests.support.waiting import until
from tests.support.wheelhouse import needed

if TYPE_CHECKING:
    from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

ROOT = Path(__file__).parents[3]
# As strict as Kubernetes' restricted profile, and without a directory for temporary files.
RESTRICTED = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges")
CHECK = ("python3", "-m", "services.mesh.healthcheck", "registry")
PORTS = ("50054", "8084")
CONTENT = b"the bytes of a model"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LIMIT_S = 60


@pytest.mark.parametrize("service", SERVICES)
def test_image_says_what_it_is(engine: Podman, build: Callable[[str], str], service: str) -> None:
    """Its labels name the service, the version and the commit, as the specification of OCI has them; it runs as nobody."""
    image = build(service)
    told = engine.inspect(image)
    assert "65532:65532" == told["Config"]["User"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in told["Labels"].items()}
    assert f"predictmesh {service}" == labels["title"]
    assert image.partition(":")[2] == labels["version"]
    assert re.fullmatch("[0-9a-f]{40}(-changed)?", labels["revision"])
    assert "Apache-2.0" == labels["licenses"]
    assert labels["created"]


def test_bill_of_materials_lists_what_the_image_needs(build: Callable[[str], str]) -> None:
    """All packages of Python with their versions, Python itself, and ours."""
    image = build("registry")
    bill = json.loads((ROOT / ".build/images/registry.spdx.json").read_text())
    found = {package["name"].lower().replace("_", "-"): package.get("versionInfo") for package in bill["packages"]}
    packages = needed(ROOT / "deploy/images/requirements", "registry")
    assert {name: package.version for name, package in packages.items()}.items() <= found.items()
    assert image.partition(":")[2] == found["predictmesh"]
    assert "python" in found


async def test_container_ends_when_what_is_under_way_has_been_answered(
    engine: Podman, build: Callable[[str], str]
) -> None:
    """Its process is the first of the container, and no shell keeps SIGTERM from it: it drains, and exits with 0.

    It runs without any writable directory but its volume. Until it serves its health check fails.
    """
    patient = "--env=PREDICTMESH_REGISTRY_GRACE_S=60"
    with engine.container(*RESTRICTED, patient, build("registry")) as container:

        def health(port: str = PORTS[1]) -> int:
            return engine.attempt("exec", container, *CHECK, port).returncode

        assert 1 == health("1")
        await asyncio.to_thread(until, health, lambda status: status == 0, within_s=LIMIT_S)
        async with grpc.aio.insecure_channel(f"{engine.address(container)}:{PORTS[0]}") as channel:
            registry: RegistryServiceAsyncStub = RegistryServiceStub(channel)
            upload = registry.UploadArtifact(timeout=LIMIT_S)
            header = registry_pb.ArtifactHeader(sha256=SHA256, size_bytes=len(CONTENT))
            await upload.write(registry_pb.UploadArtifactRequest(header=header))
            # It has come after the upload, over the same connection.
            await registry.GetSnapshot(registry_pb.GetSnapshotRequest(), timeout=LIMIT_S)
            engine.run("kill", "--signal=TERM", container)
            await asyncio.to_thread(until, health, lambda status: status != 0, within_s=LIMIT_S)
            await upload.write(registry_pb.UploadArtifactRequest(chunk=CONTENT))
            await upload.done_writing()
            assert SHA256 == (await upload).sha256
        assert "0" == await asyncio.to_thread(engine.run, "wait", container)
