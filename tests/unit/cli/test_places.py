"""Fields of the registry's messages are found again in the documents that they were read from."""

from __future__ import annotations

from pathlib import Path

import pytest

from predictmesh.registry.v1.registry_service_pb2 import Resource
from services.cli.commands.apply import _name_documents
from services.cli.resources.cursor import Document
from services.cli.resources.files import read_resources
from services.cli.resources.places import in_document

ENDPOINT = """\
kind: Endpoint
name: delay
model: delay
route: {weights: {1.0.0: 95, 1.1.0: 5}}
shadow: {version: 2.0.0, percent: 5}
sample: {entities: {tail: N 1}, features: {distance: 10}}
fallbacks: [{version: 1.0.0}, {last_answer: 10m}, {answer: {probability: [0.2], label: late}}]
"""
VIEW = "kind: FeatureView\nname: v\nentity: {name: v, keys: [{name: k, type: string}]}\nfields: []\n"


def resource(directory: Path, text: str) -> Resource:
    """Return the resource that the YAML text defines."""
    file = directory / "resource.yaml"
    file.write_text(text)
    return read_resources([file])[0][1]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("route.weights[1].percent", "route.weights.1.1.0"),
        ("route.weights[1].selector", "route.weights.1.1.0"),
        ("route.weights", "route.weights"),
        ("route.weights[7].selector", "route.weights[7].selector"),
        ("shadow.selector", "shadow.version"),
        ("shadow.percent", "shadow.percent"),
        ("sample_entities[0]", "sample.entities.tail"),
        ("sample_features[0].name", "sample.features.distance"),
        ("sample_entities", "sample.entities"),
        ("outcomes.expire_ms", "outcomes.expire"),
        ("sticky_key", "sticky_key"),
        ("fallbacks[0].version", "fallbacks[0].version"),
        ("fallbacks[1].last_answer_max_age_ms", "fallbacks[1].last_answer"),
        ("fallbacks[2].answer.outputs[1].shape", "fallbacks[2].answer.label"),
        ("fallbacks[2].answer.outputs[0]", "fallbacks[2].answer.probability"),
        ("fallbacks[2].answer.outputs", "fallbacks[2].answer"),
        ("fallbacks[2].answer", "fallbacks[2].answer"),
        ("fallbacks", "fallbacks"),
    ],
)
def test_fields_of_endpoints(tmp_path: Path, path: str, place: str) -> None:
    """What the message lists stands in the document under its name, and times stand without their unit."""
    assert place == in_document(resource(tmp_path, ENDPOINT), path)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("stale_policy", "policy"),
        ("max_age_ms", "max_age"),
        ("fields[0].default_value", "fields[0].default"),
        ("entity.keys[0].name", "entity.keys[0].name"),
    ],
)
def test_fields_of_views(tmp_path: Path, path: str, place: str) -> None:
    """Fields that the document names otherwise are named as there."""
    assert place == in_document(resource(tmp_path, VIEW), path)


def test_every_path_of_a_message_is_replaced(tmp_path: Path) -> None:
    """Each fault is told by file, document and path; punctuation stays, and what is no path of the request, too."""
    documents = [
        (Document("a.yaml", 1), resource(tmp_path, VIEW)),
        (Document("b.yaml", 2), resource(tmp_path, ENDPOINT)),
    ]
    text = (
        "resources[1].endpoint.shadow.selector: 2.0.0 answers. resources[0].name: x (resources[1]; resources[9].name)"
    )
    assert (
        "b.yaml, document 2, shadow.version: 2.0.0 answers. a.yaml, document 1, name: x "
        "(b.yaml, document 2; resources[9].name)"
    ) == _name_documents(text, documents)
