"""The files of the composed versions and of the endpoints that lead to them."""

from __future__ import annotations

from deploy.demo.flight_delay import definitions
from deploy.demo.flight_delay.composition.definitions import (
    ALTERNATIVES,
    CASCADE,
    ENSEMBLE,
    FIRST_STAGE,
    STAGES,
)
from deploy.demo.flight_delay.composition.offline import HERE, read_cascade, read_ensemble
from predictmesh.registry.v1.endpoint_pb2 import Endpoint
from services.cli.resources.files import read_resources, read_version_file


def endpoints(file: str) -> list[Endpoint]:
    """The endpoints of a file."""
    found = (resource for _, resource in read_resources([definitions.HERE / file]))
    return [resource.endpoint for resource in found if resource.HasField("endpoint")]


def test_every_alternative_has_an_endpoint_of_its_own() -> None:
    """Asked as the demo's first one is."""
    (other,) = endpoints("endpoints.yaml")
    found = endpoints("composition/endpoints.yaml")
    assert [(each.endpoint, each.version) for each in ALTERNATIVES] == [
        (each.name, each.route.version) for each in found
    ]
    for each in found:
        assert (other.model, list(other.sample_entities)) == (each.model, list(each.sample_entities))
        assert list(other.sample_features) == list(each.sample_features)


def test_the_composed_versions_are_made_of_the_alternatives_alone() -> None:
    """The cascade asks the small network first; the ensemble asks both."""
    alone = [each.version for each in ALTERNATIVES[:2]]
    assert alone == [read_cascade().first, read_cascade().second] == list(read_ensemble().weights)


def test_the_nodes_have_the_names_that_provenance_is_read_by() -> None:
    """As the registry gets them."""
    model, cascade = read_version_file(HERE / f"{CASCADE}.yaml")
    assert ("flight-delay", CASCADE) == (model, cascade.version)
    nodes = {node.name: node for node in cascade.graph.nodes}
    assert FIRST_STAGE == nodes[STAGES].cascade.stages[0].node
    assert ENSEMBLE == read_version_file(HERE / f"{ENSEMBLE}.yaml")[1].version
