"""YAML files become the registry's messages, and whatever is wrong is named by file, document and path."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from predictmesh.registry.v1.feature_view_pb2 import KeyType, StalePolicy
from predictmesh.registry.v1.model_pb2 import Version
from services.cli.errors import Mistake
from services.cli.resources.endpoints import show_endpoint
from services.cli.resources.files import read_report_file, read_resources, read_version_file
from services.cli.resources.models import show_model
from services.cli.resources.versions import show_version
from services.cli.resources.views import show_view
from services.cli.values import DATA_TYPES

VIEW = """\
kind: FeatureView
name: origin
description: Where it starts.
entity: {name: origin, keys: [{name: origin, type: string}, {name: hour, type: int64}]}
fields:
- {name: late, type: FP32, default: 0.1}
- {name: gate, type: BYTES, default: A1}
- {name: vector, type: FP64, length: 2, default: [1.0, 2.5]}
- {name: count, type: INT64}
max_age: 7d
policy: default
ttl: 30d
"""
MODEL = """\
kind: Model
name: delay
description: Will it be late?
aliases: {candidate: 1.1.0, champion: 1.0.0}
gates: {auc: {min: 0.7}, log_loss: {max: 0.5}, bias: {min: -0.1, max: 0}}
"""
ENDPOINT = """\
kind: Endpoint
name: delay
model: delay
route: {alias: champion}
default_timeout: 1500ms
sample:
  entities: {carrier: UA, hour: 7}
  features: {distance: 719.5, vector: [1, 2], night: true}
"""
VERSION = """\
kind: Version
model: delay
version: 1.0.0
inputs:
- name: x
  type: FP32
  shape: [3]
  finite: true
  sources: ["origin:late", origin.age, "request:hour"]
outputs: [{name: p, type: FP32, shape: [1]}]
metrics: {auc: 0.76}
training_profile:
  rows: 10
  features: [{name: "origin:late", edges: [1.0, 2.0], counts: [1, 2, 3], null_fraction: 0.5}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of a file that is still to be written."""
    return tmp_path / "resources.yaml"


def write(file: Path, text: str) -> Path:
    """Write the file and return its path."""
    file.write_text(text)
    return file


def test_feature_view(file: Path) -> None:
    """Every property of a view reaches the message, in the registry's units."""
    view = read_resources([write(file, VIEW)])[0][1].feature_view
    assert ("origin", "Where it starts.", 604_800_000, 2_592_000_000) == (
        view.name,
        view.description,
        view.max_age_ms,
        view.ttl_ms,
    )
    assert StalePolicy.STALE_POLICY_DEFAULT == view.stale_policy
    assert [("origin", KeyType.KEY_TYPE_STRING), ("hour", KeyType.KEY_TYPE_INT64)] == [
        (key.name, key.type) for key in view.entity.keys
    ]
    late, gate, vector, count = view.fields
    assert DATA_TYPES["FP32"] == late.data_type
    assert ["A1"] == list(gate.default_value.strings)
    assert (2, [1.0, 2.5]) == (vector.length, list(vector.default_value.doubles))
    assert not count.HasField("default_value")


def test_gates_of_a_model(file: Path) -> None:
    """A bound of 0 is one, and a bound that is not there is none."""
    auc, log_loss, bias = read_resources([write(file, MODEL)])[0][1].model.metric_gates
    assert ("auc", 0.7, False) == (auc.metric, auc.min, auc.HasField("max"))
    assert ("log_loss", 0.5, False) == (log_loss.metric, log_loss.max, log_loss.HasField("min"))
    assert (-0.1, True, 0) == (bias.min, bias.HasField("max"), bias.max)


def test_documents_of_several_files(tmp_path: Path) -> None:
    """Documents come in the order of the files, each with its place; empty ones count but say nothing."""
    first, second = write(tmp_path / "a.yaml", f"---\n---\n{MODEL}---\n{VIEW}"), write(tmp_path / "b.yaml", ENDPOINT)
    found = read_resources([first, second])
    assert [f"{first}, document 2", f"{first}, document 3", f"{second}, document 1"] == [
        str(document) for document, _ in found
    ]
    assert ["model", "feature_view", "endpoint"] == [resource.WhichOneof("kind") for _, resource in found]


def test_sample_values_keep_their_type_open(file: Path) -> None:
    """A sample is written before the model may exist: values fill the field they fit, and lists say their length."""
    endpoint = read_resources([write(file, ENDPOINT)])[0][1].endpoint
    carrier, hour = endpoint.sample_entities
    distance, vector, night = endpoint.sample_features
    assert {0} == {tensor.data_type for tensor in (carrier, hour, distance, vector, night)}
    assert (["UA"], [7], [719.5], [1, 2], [True]) == (
        list(carrier.strings),
        list(hour.ints),
        list(distance.floats),
        list(vector.ints),
        list(night.bools),
    )
    assert ([], [1, 2]) == (list(distance.shape), list(vector.shape))


@pytest.mark.parametrize("text", [VIEW, MODEL, ENDPOINT], ids=["view", "model", "endpoint"])
def test_what_is_shown_is_what_was_read(file: Path, text: str) -> None:
    """The YAML form of a resource is the document that it was read from."""
    _, resource = read_resources([write(file, text)])[0]
    shown = {
        "feature_view": lambda: show_view(resource.feature_view),
        "model": lambda: show_model(resource.model),
        "endpoint": lambda: show_endpoint(resource.endpoint),
    }[resource.WhichOneof("kind") or ""]()
    assert yaml.safe_load(text) == shown


def test_version_is_shown_as_it_was_read(file: Path) -> None:
    """The YAML form of a version is the document that it was read from."""
    assert yaml.safe_load(VERSION) == show_version(*read_version_file(write(file, VERSION)))


def test_report_of_a_training_run(file: Path) -> None:
    """A report, JSON as well as YAML, adds metrics and the profile to the version that it names."""
    version = Version(version="1.0.0")
    read_report_file(write(file, '{"version": "1.0.0", "metrics": {"auc": 0.7}}'), version)
    assert {"auc": 0.7} == dict(version.metrics)


def test_report_of_another_version(file: Path) -> None:
    """A report of another version is refused."""
    with pytest.raises(Mistake, match=r"document 1, version: is of version 2.0.0, not of 1.0.0"):
        read_report_file(write(file, "version: 2.0.0"), Version(version="1.0.0"))


def change(text: str, old: str, new: str) -> str:
    """Return `text` with `old`, which it must hold, replaced."""
    assert old in text
    return text.replace(old, new)


BAD_RESOURCES = [
    (change(VIEW, "name: origin\nd", "nome: origin\nd"), r"document 1, nome: unknown key \(did you mean name\?\)"),
    (VIEW + "zzz: 1\n", r"document 1, zzz: unknown key \(known: kind, name, entity"),
    (change(VIEW, "name: origin\nd", "d"), "document 1: name is missing"),
    (change(VIEW, "name: origin\nd", "name: 1.0\nd"), r"name: must be text, not a number 1.0: quote it"),
    (change(VIEW, "name: origin\nd", "name: ''\nd"), "name: must not be empty"),
    (change(VIEW, "type: string", "type: text"), r"entity.keys\[0\].type: 'text' is none of string, int64"),
    (change(VIEW, "keys: [{", "keys: {x: 1}, kies: [{"), "entity.kies: unknown key"),
    (change(VIEW, "type: FP32", "type: float"), r"fields\[0\].type: 'float' is none of BOOL, UINT8"),
    (change(VIEW, "default: 0.1", "default: no"), r"fields\[0\].default: False is no FP32"),
    (change(VIEW, "default: 0.1", "default: 1e99"), r"fields\[0\].default: .* no FP32|outside of FP32"),
    (change(VIEW, "default: [1.0, 2.5]", "default: [1.0]"), r"fields\[2\].default: must hold 2 values, not 1"),
    (change(VIEW, "default: [1.0, 2.5]", "default: 1"), r"fields\[2\].default: must be a list, not a whole number 1"),
    (change(VIEW, "length: 2", "length: 0"), r"fields\[2\].length: 0 is outside of 1 to"),
    (change(VIEW, "length: 2", "length: two"), r"fields\[2\].length: must be a whole number, not text 'two'"),
    (change(VIEW, "max_age: 7d", "max_age: 7"), "max_age: must be text, not a whole number 7"),
    (change(VIEW, "max_age: 7d", "max_age: 7 days"), "max_age: '7 days' is no duration"),
    (change(VIEW, "policy: default", "policy: ignore"), "policy: 'ignore' is none of serve, default, reject"),
    (
        change(MODEL, "{candidate: 1.1.0", "{candidate: 1.1"),
        "aliases.candidate: must be text, not a number 1.1: quote it",
    ),
    (change(MODEL, "{candidate:", "{7:"), "aliases: the key 7 must be text: quote it"),
    (change(MODEL, "{min: 0.7}", "0.7"), "gates.auc: must be a mapping, not a number 0.7"),
    (change(MODEL, "{min: 0.7}", "{least: 0.7}"), r"gates.auc.least: unknown key \(known: min, max\)"),
    (change(MODEL, "{min: 0.7}", "{min: high}"), "gates.auc.min: must be a number, not text 'high'"),
    (change(MODEL, "{min: 0.7}", "{min: .nan}"), "gates.auc.min: must be finite"),
    (change(ENDPOINT, "{alias: champion}", "{}"), "route: must name one of version, alias, range"),
    (change(ENDPOINT, "{alias: champion}", "{alias: a, version: 1.0.0}"), "route: must name one of version, alias"),
    (change(ENDPOINT, "{alias: champion}", "champion"), "route: must be a mapping, not text 'champion'"),
    (change(ENDPOINT, "carrier: UA", "carrier: null"), "sample.entities.carrier: None is no BYTES"),
    (change(ENDPOINT, "hour: 7", "hour: 9223372036854775808"), "sample.entities.hour: .* is outside of INT64"),
    ("name: x\n", "document 1: kind is missing: one of FeatureView, Model, Endpoint, Version"),
    ("kind: Table\n", "document 1, kind: 'Table' is none of FeatureView, Model, Endpoint, Version"),
    ("- 1\n", "document 1: must be a mapping, not a list"),
    (f"{MODEL}---\n{change(MODEL, 'delay', '[delay]')}", r"document 2, name: must be text, not a list"),
    ("kind: Model\nname: a\nname: b\n", r"line 1: a key stands twice in one mapping"),
    ("kind: [\n", r"line 2: "),
    (change(MODEL, "{min: 0.7}", "{min: 2026-02-30}"), r"resources\.yaml: day"),
    (change(MODEL, "{min: 0.7}", f"{{min: {'7' * 5000}}}"), r"resources\.yaml: .* digits"),
    (VERSION, "registered, not applied: predictmesh models register -f .* --artifact onnx=FILE"),
]


@pytest.mark.parametrize(("text", "message"), BAD_RESOURCES)
def test_bad_resources(file: Path, text: str, message: str) -> None:
    """Whatever is wrong is refused before anything is sent, and the message says where it stands."""
    with pytest.raises(Mistake, match=message) as error:
        read_resources([write(file, text)])
    assert str(file) in str(error.value)


BAD_VERSIONS = [
    (change(VERSION, "origin.age", "origin.old"), r"inputs\[0\].sources\[1\]: 'origin.old' is no source"),
    (change(VERSION, "shape: [3]", "shape: [-1]"), r"inputs\[0\].shape\[0\]: -1 is outside of 1 to"),
    (change(VERSION, "shape: [3]", "shape: 3"), r"inputs\[0\].shape: must be a list, not a whole number 3"),
    (change(VERSION, "finite: true", "finite: 1"), r"inputs\[0\].finite: must be true or false, not a whole number 1"),
    (change(VERSION, "  sources:", "  source:"), r"inputs\[0\].source: unknown key \(did you mean sources\?\)"),
    (change(VERSION, "version: 1.0.0", "version: 1.0"), "version: must be text, not a number 1.0: quote it"),
    (change(VERSION, "auc: 0.76", "auc: .nan"), "metrics.auc: must be finite"),
    (change(VERSION, "auc: 0.76", "auc: high"), "metrics.auc: must be a number, not text 'high'"),
    (
        change(VERSION, "counts: [1, 2, 3]", "counts: [1, 2]"),
        r"training_profile.features\[0\].counts: must hold 3 counts",
    ),
    (MODEL, "must hold one document of kind Version"),
    (f"{VERSION}---\n{VERSION}", "must hold one document of kind Version"),
]


@pytest.mark.parametrize(("text", "message"), BAD_VERSIONS)
def test_bad_versions(file: Path, text: str, message: str) -> None:
    """Whatever is wrong with a version is refused, and the message says where it stands."""
    with pytest.raises(Mistake, match=message):
        read_version_file(write(file, text))


@pytest.mark.parametrize("content", [b"\xff\xfe\xff", b"a: \x00"], ids=["no UTF-8", "a control character"])
def test_what_is_no_text(file: Path, content: bytes) -> None:
    """A file that is no text is a mistake, not a crash."""
    file.write_bytes(content)
    with pytest.raises(Mistake, match=r"resources\.yaml"):
        read_resources([file])


def test_no_file_and_no_documents(tmp_path: Path) -> None:
    """A file that is not there, and one that says nothing, are mistakes."""
    with pytest.raises(Mistake, match=r"cannot read .*none\.yaml"):
        read_resources([tmp_path / "none.yaml"])
    with pytest.raises(Mistake, match="no documents in"):
        read_resources([write(tmp_path / "empty.yaml", "---\n")])
