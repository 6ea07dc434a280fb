"""What callers of Apply can let pass, and what the log says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.mesh.errors import MeshError, Reason
from services.registry.applying import plan_apply
from services.registry.catalog import Catalog
from services.registry.definitions import GoldenSet, Model, Resource, Route, Shadow, Version
from services.registry.gatekeeper import Gatekeeper
from services.registry.gates import Gate
from services.registry.readiness import Readiness, RuntimeState, RuntimeStatus
from services.registry.vetting import Waivers
from tests.support.catalogs import NOW, a_catalog, the_model
from tests.support.definitions import SHA256, endpoint
from tests.support.gates import OpenGates
from tests.support.graphs import composed_in, graph
from tests.worlds.graphs import node

TO_1_1_0 = endpoint(route=Route(version="1.1.0"))


class Unready(OpenGates):
    """Nobody has reported anything, and so the gate `ready` is shut."""

    def gates(self, catalog: Catalog, model: Model, version: Version) -> tuple[Gate, ...]:
        """The one gate."""
        return (Gate("ready", False, "no model process has it", "wait for one"),)


def forced(catalog: Catalog, resource: Resource, **waivers: bool) -> tuple[str, ...]:
    """What the log says that was overridden."""
    event = plan_apply(catalog, [resource], Unready(), Waivers(**waivers)).event
    assert event
    return event.forced


def with_golden(catalog: Catalog) -> Catalog:
    """The catalog whose versions have golden sets."""
    golden = GoldenSet("9" * 64, size_bytes=77)
    versions = tuple(replace(version, golden=golden) for version in the_model(catalog).versions)
    return catalog.with_model(replace(the_model(catalog), versions=versions))


def test_routes_may_lead_to_versions_before_the_first_process_starts() -> None:
    """If the caller says so."""
    with pytest.raises(MeshError) as caught:
        forced(a_catalog(), TO_1_1_0)
    assert Reason.VERSION_NOT_READY is caught.value.reason
    assert () == forced(a_catalog(), TO_1_1_0, allow_unready=True)


def test_a_golden_set_that_nobody_has_run_takes_force() -> None:
    """Which has a reason, and is in the log."""
    catalog = with_golden(a_catalog())
    with pytest.raises(MeshError) as caught:
        forced(catalog, TO_1_1_0, allow_unready=True)
    assert Reason.VERSION_NOT_READY is caught.value.reason
    assert ("churn@1.1.0: gate ready",) == forced(catalog, TO_1_1_0, allow_unready=True, force=True)


def test_a_shadow_that_is_not_ready_is_forced_in_the_log() -> None:
    """As all that force overrides."""
    shadowed = endpoint(route=Route(version="1.0.0"), shadow=Shadow("1.1.0", 10))
    (said,) = forced(a_catalog(), shadowed, force=True)
    assert said.startswith("resources[0].endpoint.shadow.selector: no model process has churn@1.1.0 READY")


def composed_of(*numbers: str, golden: bool = False) -> Catalog:
    """The catalog with churn@9.0.0, which is composed of these versions of churn; with golden sets, if told so."""
    catalog = with_golden(a_catalog()) if golden else a_catalog()
    nodes = graph(
        *(node(f"n{index}", f"churn@{number}") for index, number in enumerate(numbers)),
        **{f"y{index}": f"n{index}" for index in range(len(numbers))},
    )
    versions = (*the_model(catalog).versions, composed_in(catalog, nodes))
    return catalog.with_model(replace(the_model(catalog), versions=versions))


def vet(catalog: Catalog, *ready: Version, **waivers: bool) -> tuple[str, ...]:
    """What is overridden where an endpoint is led to churn@9.0.0 while a process has these versions READY."""
    readiness = Readiness(lambda: 0.0, lambda: NOW)
    statuses = [RuntimeStatus("churn", each.version, each.digest, "onnx", RuntimeState.READY) for each in ready]
    readiness.report("model-1", tuple(statuses))
    gatekeeper = Gatekeeper(readiness, {SHA256: 20, "9" * 64: 77})
    event = plan_apply(catalog, [endpoint(route=Route(version="9.0.0"))], gatekeeper, Waivers(**waivers)).event
    assert event
    return event.forced


def test_an_endpoint_is_led_to_a_composed_version_whose_nodes_are_ready() -> None:
    """Each of them."""
    catalog = composed_of("1.0.0", "1.1.0")
    one, two = the_model(catalog).versions[:2]
    assert () == vet(catalog, one, two)
    with pytest.raises(MeshError) as caught:
        vet(catalog, one)
    assert Reason.VERSION_NOT_READY is caught.value.reason
    assert ["resources[0].endpoint.route"] == [each.field for each in caught.value.violations]
    assert "gate node/n1/ready: no model process has churn@1.1.0 READY" in caught.value.message


def test_nodes_that_are_not_ready_may_be_waived() -> None:
    """But for those with a golden set, which take force."""
    assert () == vet(composed_of("1.0.0"), allow_unready=True)
    with pytest.raises(MeshError) as caught:
        vet(composed_of("1.0.0", golden=True), allow_unready=True)
    assert Reason.VERSION_NOT_READY is caught.value.reason
    assert ("churn@9.0.0: gate node/n0/ready",) == vet(composed_of("1.0.0", golden=True), force=True)


def test_a_shadow_that_is_composed_is_ready_when_its_nodes_are() -> None:
    """As any version that an endpoint is led to."""
    shadowed = endpoint(route=Route(version="1.0.0"), shadow=Shadow("9.0.0", 10))
    said = forced(composed_of("1.0.0", "1.1.0"), shadowed, force=True)
    assert (
        "resources[0].endpoint.shadow.selector: no model process has churn@1.0.0 READY (none has reported it); "
        "no model process has churn@1.1.0 READY (none has reported it)"
    ) in said
