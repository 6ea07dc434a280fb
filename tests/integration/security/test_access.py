"""The services as processes behind an access file: who may do what, from the first call to the last key that is replaced."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
import yaml
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.model.v1 import model_service_pb2 as model_pb
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.cli.fetch import fetch, fetch_json
from services.cli.targets import SERVICES
from tests.support.access import key, secret, write
from tests.support.commands import run, succeed
from tests.support.issuers import AUDIENCE, ISSUER, Issuer
from tests.worlds.failures import failure, status_failure
from tests.worlds.mesh import Mesh, connect
from tests.worlds.models import affine
from tests.worlds.resources import field, view
from tests.worlds.sandbox import Sandbox, eventually
from tests.worlds.up import Up, up

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEAM = "team"
KEYS = (
    key("root", "operator"),
    key("services", "service"),
    key("app", "caller", endpoints=[f"{TEAM}/ride"]),
    key("ann", "releaser", endpoints=[f"{TEAM}/*"]),
    key("pipeline", "writer", endpoints=[f"{TEAM}/*"]),
)


@dataclass(frozen=True)
class Guarded:
    """A running `up`, the access file of its services, the file with the key that they show, and an issuer they trust."""

    up: Up
    directory: Path
    issuer: Issuer

    @property
    def data(self) -> Path:
        """The directory of `up`."""
        return self.directory / "data"

    @property
    def token_file(self) -> Path:
        """What the services show each other."""
        return self.directory / "services.key"

    def allow(self, *keys: Mapping[str, Any]) -> None:
        """Let in those who have the keys, or tokens of the issuer."""
        jwt = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(self.directory / "jwks.json")}
        write(self.directory / "access.yaml", *keys, jwt=jwt)

    def http(self) -> Sequence[str]:
        """Where every service answers HTTP."""
        return [self.up.line["http"][service] for service in SERVICES]

    def log(self) -> str:
        """What the services have said."""
        return (self.directory / "log").read_text()

    def key_file(self, name: str) -> Path:
        """A file with the key of that name."""
        made = self.directory / f"{name}.key"
        made.write_text(secret(name) + "\n")
        return made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """All services read one access file; they are known to each other by a key."""
    directory = tmp_path_factory.mktemp("access")
    issuer = Issuer()
    issuer.add("one")
    issuer.publish(directory / "jwks.json")
    files = directory / "access.yaml", directory / "services.key"
    made = Guarded(Up(None, {}), directory, issuer)  # type: ignore[arg-type]  # to write its files
    made.allow(*KEYS)
    made.token_file.write_text(secret("services"))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PREDICTMESH_", "OTEL_"))]:
            patch.delenv(name)
        options = ("--access-file", str(files[0]), "--services-token-file", str(files[1]))
        with up(directory, *options, env={"PREDICTMESH_TOKEN": secret("app")}) as running:
            yield Guarded(running, directory, issuer)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own(guarded: Guarded) -> AsyncIterator[Sandbox]:
    """Endpoints `team/ride` and `team/other`: ten times the rider's number, as stored; all is defined by an operator."""
    async with connect(guarded.up.addresses, token=secret("root")) as mesh:
        made = Sandbox(mesh, TEAM)
        await made.view(view("rider", field("tens"), entity="rider", keys={"rider_id": "STRING"}))
        await made.serve("ride", affine([[1.0]]), {"x": ["rider:tens"]})
        await made.endpoint("other", "ride", version="1.0.0")
        await made.write("rider", {"rider_id": ["r7"]}, {"tens": [70.0]})
        yield made


@dataclass(frozen=True)
class As:
    """A mesh as somebody calls it."""

    mesh: Mesh
    own: Sandbox

    def request(self, endpoint: str) -> gateway_pb.PredictRequest:
        """A request for the rider."""
        return self.own.request(endpoint, {"rider_id": ["r7"]})

    async def ride(self) -> float:
        """What the endpoint answers."""
        answer = await self.mesh.gateway.Predict(self.request("ride"), timeout=10)
        return answer.outputs[0].floats[0]


@pytest_asyncio.fixture(loop_scope="module")
async def app(guarded: Guarded, own: Sandbox) -> AsyncIterator[As]:
    """An application that may call one endpoint."""
    async with connect(guarded.up.addresses, token=secret("app")) as mesh:
        yield As(mesh, own)


@pytest_asyncio.fixture(loop_scope="module")
async def ann(guarded: Guarded, own: Sandbox) -> AsyncIterator[As]:
    """Somebody who releases what is of the team."""
    async with connect(guarded.up.addresses, token=secret("ann")) as mesh:
        yield As(mesh, own)


@pytest_asyncio.fixture(loop_scope="module")
async def nobody(guarded: Guarded, own: Sandbox) -> AsyncIterator[As]:
    """Somebody who shows nothing."""
    async with connect(guarded.up.addresses) as mesh:
        yield As(mesh, own)


async def test_application_calls_its_endpoint(app: As) -> None:
    """Over all hops, for which the services know each other."""
    assert 70.0 == await app.ride()
    explained = await app.mesh.gateway.Explain(gateway_pb.ExplainRequest(request=app.request("ride")), timeout=10)
    assert 70.0 == explained.prediction.outputs[0].floats[0]


async def test_application_calls_no_other(app: As) -> None:
    """Neither predicts nor explains it, nor sees that it is there, nor what there is beside endpoints."""
    refused = ("PERMISSION_DENIED", "ENDPOINT_NOT_ALLOWED", ("endpoint",))
    assert refused == (await failure(app.mesh.gateway.Predict(app.request("other"), timeout=10))).short
    explain = gateway_pb.ExplainRequest(request=app.request("other"))
    assert ("request.endpoint",) == (await failure(app.mesh.gateway.Explain(explain, timeout=10))).fields
    listed = await app.mesh.gateway.ListEndpoints(gateway_pb.ListEndpointsRequest(), timeout=10)
    assert [app.own.full("ride")] == [each.name for each in listed.endpoints]
    snapshot = app.mesh.registry.GetSnapshot(registry_pb.GetSnapshotRequest(), timeout=10)
    assert "MISSING_ROLE" == (await failure(snapshot)).reason


async def test_stream_goes_on_after_a_request_that_is_refused(app: As) -> None:
    """Only that one is."""

    async def requests() -> AsyncIterator[gateway_pb.PredictStreamRequest]:
        for number, endpoint in enumerate(("ride", "other", "ride")):
            yield gateway_pb.PredictStreamRequest(id=str(number), request=app.request(endpoint))

    answers = {each.id: each async for each in app.mesh.gateway.PredictStream(requests(), timeout=10)}
    assert [70.0, 70.0] == [answers[number].response.outputs[0].floats[0] for number in ("0", "2")]
    refused = ("PERMISSION_DENIED", "ENDPOINT_NOT_ALLOWED", ("request.endpoint",))
    assert refused == status_failure(answers["1"].error).short


async def test_stranger_gets_nothing_of_any_service(nobody: As) -> None:
    """But whether they are well."""
    mesh = nobody.mesh
    calls: dict[str, Any] = {
        "gateway": mesh.gateway.Predict(nobody.request("ride"), timeout=10),
        "features": mesh.features.GetFeatures(features_pb.GetFeaturesRequest(), timeout=10),
        "model": mesh.runtimes.DescribeRuntimes(model_pb.DescribeRuntimesRequest(), timeout=10),
        "registry": mesh.registry.GetSnapshot(registry_pb.GetSnapshotRequest(), timeout=10),
    }
    for service, call in calls.items():
        assert ("UNAUTHENTICATED", "MISSING_CREDENTIALS", ("authorization",)) == (await failure(call)).short
        async with grpc.aio.insecure_channel(getattr(mesh.addresses, service)) as channel:
            health: Any = HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert health_pb2.HealthCheckResponse.SERVING == answer.status


async def test_releaser_s_name_is_in_the_log_whatever_he_says(ann: As) -> None:
    """Changes are of who has made them; what is of others is not changed, and nothing is deleted or forced."""
    name = ann.own.full("ann-s")
    resource = registry_pb.Resource()
    resource.model.name = name
    request = registry_pb.ApplyRequest(resources=[resource], actor="somebody else")
    revision = (await ann.mesh.registry.Apply(request, timeout=10)).revision
    events = registry_pb.ListEventsRequest(after_revision=revision - 1)
    listed = await ann.mesh.registry.ListEvents(events, timeout=10)
    assert ["ann"] == [event.actor for event in listed.events]
    resource.model.name = "elsewhere/model"
    refused = ("PERMISSION_DENIED", "ENDPOINT_NOT_ALLOWED", ("resources[0].model.name",))
    elsewhere = registry_pb.ApplyRequest(resources=[resource])
    assert refused == (await failure(ann.mesh.registry.Apply(elsewhere, timeout=10))).short
    forced = registry_pb.ApplyRequest(force=True, reason="in a hurry")
    assert ("force",) == (await failure(ann.mesh.registry.Apply(forced, timeout=10))).fields
    deletion = registry_pb.DeleteRequest(model=name)
    assert "MISSING_ROLE" == (await failure(ann.mesh.registry.Delete(deletion, timeout=10))).reason
    await ann.own.mesh.registry.Delete(deletion, timeout=10)


async def test_token_of_the_issuer(guarded: Guarded, own: Sandbox) -> None:
    """It does as well as a key, for what its claims say."""
    async with connect(guarded.up.addresses, token=guarded.issuer.token(sub="bob", roles=["caller"])) as mesh:
        assert 70.0 == await As(mesh, own).ride()
        apply = registry_pb.ApplyRequest()
        assert "MISSING_ROLE" == (await failure(mesh.registry.Apply(apply, timeout=10))).reason
    async with connect(guarded.up.addresses, token=guarded.issuer.token(aud="another")) as mesh:
        assert "INVALID_CREDENTIALS" == (await failure(As(mesh, own).ride())).reason


async def test_command_line(guarded: Guarded, own: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It shows the key of a file, or of the environment, and says what to do without one."""
    ask = ("predict", own.full("ride"), "--entity", "rider_id=r7", "--data", guarded.data)
    assert "70" in await asyncio.to_thread(succeed, *ask, "--token-file", guarded.key_file("app"))
    refused = await asyncio.to_thread(run, *ask)
    assert (1, True) == (refused.code, "--token-file or PREDICTMESH_TOKEN says who calls" in refused.err)
    monkeypatch.setenv("PREDICTMESH_TOKEN", secret("app"))
    assert "70" in await asyncio.to_thread(succeed, *ask)
    monkeypatch.setenv("PREDICTMESH_TOKEN", secret("pipeline"))
    rows = tmp_path / "rows.csv"
    rows.write_text("rider_id,tens,event_time\nr8,80,2024-01-01T00:00:00Z\n")
    written = ("features", "write", own.full("rider"), "--file", rows, "--data", guarded.data)
    assert "1 " in await asyncio.to_thread(succeed, *written)
    monkeypatch.setenv("PREDICTMESH_TOKEN", secret("root"))
    definitions = tmp_path / "model.yaml"
    definitions.write_text(yaml.safe_dump({"kind": "Model", "name": own.full("by-root")}))
    await asyncio.to_thread(succeed, "apply", "-f", definitions, "--data", guarded.data)
    events = await asyncio.to_thread(succeed, "events", "--data", guarded.data)
    assert " root: " in events
    assert f" {getpass.getuser()}: " not in events.replace(" root: ", "")
    assert "access keys 5" in await asyncio.to_thread(succeed, "status", "--data", guarded.data)


async def test_keys_are_replaced_without_a_restart(guarded: Guarded, app: As) -> None:
    """One is let in soon after it is in the file, and the services' own is replaced with no more than the file."""
    guarded.allow(*KEYS, key("new", "operator"), key("services-2", "service"))

    async def lets_in() -> bool:
        async with connect(guarded.up.addresses, token=secret("new")) as mesh:
            calls = (
                mesh.gateway.ListEndpoints(gateway_pb.ListEndpointsRequest(), timeout=10),
                mesh.features.GetFeatures(features_pb.GetFeaturesRequest(), timeout=10),
                mesh.runtimes.DescribeRuntimes(model_pb.DescribeRuntimesRequest(), timeout=10),
                mesh.registry.GetSnapshot(registry_pb.GetSnapshotRequest(), timeout=10),
            )
            ends = await asyncio.gather(*calls, return_exceptions=True)
        return not any(isinstance(end, grpc.aio.AioRpcError) and end.code().name == "UNAUTHENTICATED" for end in ends)

    await eventually(lets_in, "the new key")
    guarded.token_file.write_text(secret("services-2"))
    guarded.allow(*(each for each in KEYS if each["name"] != "services"), key("services-2", "service"))

    async def answers() -> bool:
        try:
            return await app.ride() == 70.0
        except grpc.aio.AioRpcError:
            return False

    await eventually(answers, "a prediction, once nothing goes by the old key")


async def test_services_that_are_not_let_in_are_no_fault_of_the_caller(guarded: Guarded, app: As) -> None:
    """He is not told that his key is bad because theirs is; and all is well again when theirs is."""
    guarded.allow(*(each for each in KEYS if each["name"] != "services"))

    async def fails() -> bool:
        try:
            await app.ride()
        except grpc.aio.AioRpcError as error:
            assert error.code().name in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}  # noqa: PT017 - while it is so
            return True
        return False

    await eventually(fails, "a prediction that fails")
    guarded.allow(*KEYS)
    guarded.token_file.write_text(secret("services"))

    async def answers() -> bool:
        return not await fails()

    await eventually(answers, "a prediction")
    assert "another service does not let this one in" in guarded.log()


async def test_refusals_are_told_and_secrets_are_not(guarded: Guarded, app: As, nobody: As) -> None:
    """Each service counts and logs whom it has refused; no key is in any log, metric or status."""

    async def logged() -> bool:
        await failure(nobody.mesh.gateway.Predict(nobody.request("ride"), timeout=10))
        await failure(app.mesh.gateway.Predict(app.request("other"), timeout=10))
        await failure(app.mesh.registry.GetSnapshot(registry_pb.GetSnapshotRequest(), timeout=10))
        whole = guarded.log().rpartition("\n")[0].splitlines()
        reasons = {json.loads(line)["reason"] for line in whole if '"predictmesh.audit"' in line}
        return {"MISSING_CREDENTIALS", "MISSING_ROLE", "ENDPOINT_NOT_ALLOWED"} <= reasons

    # Of many at once, as another test may just have made, the log leaves some out.
    await eventually(logged, "every reason in the log")
    pages = [fetch(address, "/metrics", 5)[1] for address in guarded.http()]
    assert 'predictmesh_access_refusals_total{reason="MISSING_CREDENTIALS",service="gateway"}' in pages[0]
    statuses = [fetch_json(address, "/statusz", 5)[1] for address in guarded.http()]
    assert all({"keys", "peers", "issuer", "issuer_keys"} <= status["access"].keys() for status in statuses)
    told = "".join([guarded.log(), *pages, json.dumps(statuses), (guarded.data / "up.json").read_text()])
    assert [] == [name for name in ("root", "app", "ann", "services", "services-2") if secret(name) in told]
