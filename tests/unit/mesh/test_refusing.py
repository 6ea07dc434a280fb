"""Refusals by headers: what they cost, and what they count against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh import refusing
from services.mesh.admission.allowance import Allowance
from services.mesh.admission.gate import Gate
from services.mesh.admission.limit import AdaptiveLimit
from services.mesh.admission.priority import Priority
from services.mesh.errors import MeshError, Reason
from services.mesh.security.errors import InvalidCredentials, MissingCredentials
from services.mesh.security.guard import Guard
from tests.support.access import key, secret, shows, write
from tests.support.probe import new_probe, remote, server

SERVICE = "predictmesh.registry.v1.RegistryService"
ALLOWED = 10


@pytest.fixture
def gate() -> Gate:
    """A gate that may refuse ten calls, ever."""
    made = Gate(AdaptiveLimit(4))
    made._refusals = Allowance(ALLOWED, saved_s=1, clock=lambda: 0.0)
    return made


@pytest.fixture(params=[[], [{"identity": "ci.local", "roles": ["releaser"]}]], ids=["keys", "keys and certificates"])
async def stub(gate: Gate, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Calls of a server that knows some callers, and has the gate before one of its methods.

    Where certificates do, too, a call without a key is refused only when it has been looked into.
    """
    keys = [key("app", "caller"), key("ann", "releaser"), key("team", "releaser", endpoints=["team/*"])]
    guard = Guard("probe", write(tmp_path / "access.yaml", *keys, peers=request.param))
    async with (
        server(new_probe(), gates={f"/{SERVICE}/Apply": gate}, guard=guard) as serving,
        remote(serving.address) as made,
    ):
        yield made


async def refused(call: Any) -> Reason:
    """Return why a call is refused."""
    with pytest.raises(MeshError) as error:
        await call
    return error.value.reason


@pytest.mark.parametrize("metadata", [(), shows("pmk_nobody"), shows(secret("app"))], ids=["none", "unknown", "role"])
async def test_strangers_count_as_refusals(stub: Any, gate: Gate, metadata: Any) -> None:
    """A flood of them would keep the service as busy as any other: no more are taken than may be refused."""
    reasons = {Reason.MISSING_CREDENTIALS, Reason.INVALID_CREDENTIALS, Reason.MISSING_ROLE}
    assert await refused(stub.Apply(registry_pb.ApplyRequest(), metadata=metadata)) in reasons
    assert ALLOWED - 1 == gate._refusals.left()
    assert 0 == gate.in_flight


async def test_strangers_to_what_a_request_names_count(stub: Any, gate: Gate) -> None:
    """They are known only when it has been read."""
    request = registry_pb.ApplyRequest()
    request.resources.add().endpoint.name = "other"
    assert Reason.ENDPOINT_NOT_ALLOWED is await refused(stub.Apply(request, metadata=shows(secret("team"))))
    assert ALLOWED - 1 == gate._refusals.left()


async def test_others_do_not_count(stub: Any, gate: Gate) -> None:
    """Neither who is let in, nor whom a method turns away that has no gate."""
    await stub.Apply(registry_pb.ApplyRequest(), metadata=shows(secret("ann")))
    with pytest.raises(MeshError):
        [each async for each in stub.WatchSnapshot(registry_pb.WatchSnapshotRequest())]
    assert ALLOWED == gate._refusals.left()


def test_strangers_are_not_taken_beyond_what_may_be_refused(gate: Gate) -> None:
    """With no room left, so many are taken from the network; later refusals do not pay for what was more."""
    for _ in range(5):
        gate.admit(Priority.HIGH).__enter__()
    taken = []
    for _ in range(3 * ALLOWED):
        taken.append(gate.to_take(0))
        gate.turned_away()
    assert [*range(ALLOWED, 0, -1)] == taken[:ALLOWED]
    assert {0} == set(taken[ALLOWED:])
    assert 0 == gate._refusals.left()


def test_refusals_that_are_alike_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tells of them is kept, for some of them."""
    monkeypatch.setattr(refusing, "MOST_PACKED", 2)
    packed = refusing._Packed()
    first = packed.of(MissingCredentials("who?"))
    assert first is packed.of(MissingCredentials("who?"))
    others = {str(packed.of(error)) for error in (MissingCredentials("who, then?"), InvalidCredentials("who?"))}
    assert 3 == len({str(first), *others})
    assert len(packed._known) <= 2
    assert first == packed.of(MissingCredentials("who?"))
