"""All services in one process: composed, called without a wire, and gone when they are stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.mesh.errors import MeshError, Reason
from services.mesh.interceptors import server_chain
from services.mesh.lifecycle import Service
from services.mesh.local import LocalStub
from services.mesh.settings import SettingsError
from services.mesh.telemetry.tracing import open_tracing
from services.model import server as model_server
from services.monolith.server import build
from services.monolith.settings import Settings
from services.registry.definitions import Artifact, Signature
from tests.support.definitions import endpoint, model, spec, version, view
from tests.support.onnx_models import linear
from tests.support.registry import Client
from tests.support.waiting import eventually

LIMIT_S = 20
SERVICES = ("registry", "features", "model", "gateway")
AS_OF_US = 1_700_000_000_000_000


@pytest.fixture(autouse=True)
def of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service keeps its state below the test's directory, and values in memory."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    for service in SERVICES:
        monkeypatch.setenv(f"PREDICTMESH_{service.upper()}_OBJECTS", f"file://{tmp_path}/objects")
        monkeypatch.setenv(f"PREDICTMESH_{service.upper()}_DATA_DIR", f"{tmp_path}/{service}")
    monkeypatch.setenv("PREDICTMESH_FEATURES_REDIS_URL", "memory://")
    # Another world of the same run may have a model service in this process.
    monkeypatch.setattr(model_server, "REGISTRY", CollectorRegistry())


@pytest.fixture
async def monolith() -> AsyncIterator[Service]:
    """The services of one process, not served: nothing here goes over a wire."""
    async with build(Settings(grpc_port=0, http_port=0)) as service:
        yield service


def stub(service: Service, name: str) -> Any:
    """Return the methods of one gRPC service of the process."""
    found = [each for each in service.servicers if name in {method.service for method in each.methods()}]
    chain = server_chain(open_tracing(name, endpoint="", sample_ratio=0), max_in_flight=10)
    return LocalStub(found[0], chain)


async def define(service: Service) -> None:
    """Define a view, a model that adds up two stored values, an age and an hour, and an endpoint for it."""
    registry = Client(stub(service, "predictmesh.registry.v1.RegistryService"))
    adding = linear(width=4)
    await registry.apply(view(), model())
    await registry.upload(adding.content)
    given = version(
        signature=Signature((spec(shape=(4,)),), (spec("y", shape=(1,)),)),
        artifacts=(Artifact("onnx", adding.sha256),),
    )
    await registry.register(given)
    await registry.apply(model(champion="1.0.0"), endpoint())


async def predicted(service: Service, rider: str) -> gateway_pb.PredictResponse:
    """Predict for one rider, as soon as the version is loaded."""
    request = gateway_pb.PredictRequest(
        endpoint="churn",
        entities=[Tensor(name="rider_id", strings=[rider])],
        features=[Tensor(name="hour", floats=[10])],
    )
    request.as_of.FromMicroseconds(AS_OF_US)
    gateway = stub(service, "predictmesh.gateway.v1.PredictionService")
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                response: gateway_pb.PredictResponse = await gateway.Predict(request, timeout=LIMIT_S)
            except MeshError as error:
                if error.reason not in {Reason.NOT_READY, Reason.UNKNOWN_ENDPOINT, Reason.VERSION_NOT_LOADED}:
                    raise
                await asyncio.sleep(0.02)
            else:
                return response


async def test_one_port_has_every_service(monolith: Service) -> None:
    """What four processes answer, one does."""
    served = {method.service for each in monolith.servicers for method in each.methods()}
    assert {
        "predictmesh.gateway.v1.PredictionService",
        "predictmesh.features.v1.FeatureService",
        "predictmesh.registry.v1.RegistryService",
        "predictmesh.registry.v1.ReleaseService",
        "predictmesh.registry.v1.QualityService",
        "predictmesh.model.v1.ModelService",
        "inference.GRPCInferenceService",
    } == served
    assert set(SERVICES) == set(monolith.status()["services"])  # type: ignore[call-overload]


async def test_a_prediction_through_all_services(monolith: Service) -> None:
    """Defined, written, loaded and computed, without a wire between."""
    await define(monolith)
    features = stub(monolith, "predictmesh.features.v1.FeatureService")
    batch = features_pb.FeatureBatch(
        view="rider_stats",
        keys=[Tensor(name="rider_id", strings=["ann"])],
        values=[Tensor(name="trips", floats=[100]), Tensor(name="rating", floats=[5])],
        event_time_us=[AS_OF_US - 2_000_000],
    )
    await eventually(lambda: not monolith.ready(), within_s=LIMIT_S)
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await features.WriteFeatures(features_pb.WriteFeaturesRequest(batch=batch))
                break
            except MeshError as error:
                assert Reason.UNKNOWN_VIEW is error.reason  # noqa: PT017 - its watch may lag behind
                await asyncio.sleep(0.02)
    answer = await predicted(monolith, "ann")
    assert [117.0] == list(answer.outputs[0].floats)
    assert ("churn", "1.0.0", "onnx") == (
        answer.provenance.model,
        answer.provenance.version,
        answer.provenance.runtime,
    )
    assert [] == list(answer.provenance.degradations)


async def test_ready_names_who_is_not(monolith: Service) -> None:
    """The process is ready when all of its services are; until then it says which are not, and why."""
    waiting = monolith.ready()
    assert all(part.partition(":")[0] in SERVICES for part in waiting.split("; ") if part)
    await eventually(lambda: not monolith.ready(), within_s=LIMIT_S)


async def test_each_service_reads_its_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's variables are its own, and what it does not know is an error that names it."""
    monkeypatch.setenv("PREDICTMESH_GATEWAY_DATA_DIR", str(tmp_path / "elsewhere"))
    async with build(Settings()) as service:
        await define(service)
        await eventually((tmp_path / "elsewhere" / "snapshot.binpb").exists, within_s=LIMIT_S)
        assert (tmp_path / "registry" / "registry.sqlite3").exists()
    monkeypatch.setenv("PREDICTMESH_MODEL_NONSENSE", "1")
    with pytest.raises(SettingsError, match="PREDICTMESH_MODEL_NONSENSE"):
        async with build(Settings()):
            pass


async def test_nothing_is_left_when_it_stops() -> None:
    """Watches, reports and batches end with the process's services, whatever they were doing."""
    before = asyncio.all_tasks()
    async with build(Settings()) as service:
        await define(service)
        await predicted(service, "bob")
        asked = asyncio.create_task(predicted(service, "ann"))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        service.drain()
    await eventually(lambda: asyncio.all_tasks() <= before)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("settings", [("ACCESS_FILE",), ("TLS_CERT_FILE", "TLS_KEY_FILE")])
async def test_protection_of_one_service(
    service: str, settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would keep nobody out, and hide nothing, as all are behind one port; it is refused."""
    for name in settings:
        monkeypatch.setenv(f"PREDICTMESH_{service.upper()}_{name}", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match=f"PREDICTMESH_{service.upper()}_{settings[0]} .*_MONOLITH_{settings[0]}"):
        async with build(Settings(grpc_port=0, http_port=0)):
            pass


@pytest.mark.parametrize("service", SERVICES[1:])
async def test_token_of_one_service(service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would be shown to nobody, and is refused."""
    monkeypatch.setenv(f"PREDICTMESH_{service.upper()}_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(SettingsError, match=f"PREDICTMESH_{service.upper()}_TOKEN_FILE does nothing"):
        async with build(Settings(grpc_port=0, http_port=0)):
            pass
