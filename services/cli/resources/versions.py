"""Versions of a model, to and from their YAML form."""

from __future__ import annotations

from collections.abc import Iterable

from predictmesh.registry.v1.model_pb2 import FeatureHistogram, InputBinding, TensorSpec, TrainingProfile, Version
from services.cli.resources import sources
from services.cli.resources.cursor import Cursor
from services.cli.resources.graphs import read_graph, show_graph
from services.cli.values import DATA_TYPES, type_name

_LARGEST = 2**63 - 1


def read_version(document: Cursor) -> tuple[str, Version]:
    """Return the name of the model and the version that `document` defines; its artifacts come beside it, if it has any."""
    if "graph" in document.members():
        return _read_composed(document)
    members = document.mapping(("kind", "model", "version", "inputs", "outputs"), ("metrics", "training_profile"))
    version = Version(version=members["version"].text())
    for item in members["inputs"].items():
        spec, binding = _read_input(item)
        version.signature.inputs.append(spec)
        version.bindings.append(binding)
    version.signature.outputs.extend(
        _read_spec(item.mapping(("name", "type"), ("shape", "finite"))) for item in members["outputs"].items()
    )
    _read_evidence(members, version)
    return members["model"].text(), version


def _read_composed(document: Cursor) -> tuple[str, Version]:
    """A version that is made of others; the registry derives from them what it takes and gives."""
    _check_derived(document, ("inputs", "outputs", "training_profile"))
    members = document.mapping(("kind", "model", "version", "graph"), ("metrics",))
    version = Version(version=members["version"].text(), graph=read_graph(members["graph"]))
    _read_evidence(members, version)
    return members["model"].text(), version


def _check_derived(cursor: Cursor, names: Iterable[str]) -> None:
    for name, member in cursor.members().items():
        if name in names:
            member.fail("is that of the versions in the graph: leave it out")


def add_report(report: Cursor, version: Version) -> None:
    """Add the metrics and the training profile that a training run has written; its version must be this one."""
    members = report.mapping((), ("version", "metrics", "training_profile"))
    if "version" in members and members["version"].text() != version.version:
        members["version"].fail(f"is of version {members['version'].value}, not of {version.version}")
    if version.HasField("graph"):
        _check_derived(report, ("training_profile",))
    _read_evidence(members, version)


def _read_evidence(members: dict[str, Cursor], version: Version) -> None:
    if "metrics" in members:
        for name, value in members["metrics"].members().items():
            version.metrics[name] = value.number()
    if "training_profile" in members:
        version.training_profile.CopyFrom(_read_profile(members["training_profile"]))


def _read_input(cursor: Cursor) -> tuple[TensorSpec, InputBinding]:
    members = cursor.mapping(("name", "type", "sources"), ("shape", "finite"))
    spec = _read_spec(members)
    return spec, InputBinding(
        input=spec.name, sources=[item.parsed(sources.parse) for item in members["sources"].items()]
    )


def _read_spec(members: dict[str, Cursor]) -> TensorSpec:
    spec = TensorSpec(name=members["name"].text(), data_type=members["type"].choice(DATA_TYPES))
    if "shape" in members:
        spec.shape.extend(item.integer(1, _LARGEST) for item in members["shape"].items())
    if "finite" in members:
        spec.finite = members["finite"].boolean()
    return spec


def _read_profile(cursor: Cursor) -> TrainingProfile:
    members = cursor.mapping(("rows", "features"))
    return TrainingProfile(
        rows=members["rows"].integer(0, _LARGEST),
        features=[_read_histogram(item) for item in members["features"].items()],
    )


def _read_histogram(cursor: Cursor) -> FeatureHistogram:
    members = cursor.mapping(("name", "edges", "counts"), ("null_fraction",))
    histogram = FeatureHistogram(
        name=members["name"].text(),
        edges=[item.number() for item in members["edges"].items()],
        counts=[item.integer(0, _LARGEST) for item in members["counts"].items()],
    )
    if len(histogram.counts) != len(histogram.edges) + 1:
        members["counts"].fail(f"must hold {len(histogram.edges) + 1} counts, one more than edges")
    if "null_fraction" in members:
        histogram.null_fraction = members["null_fraction"].number()
    return histogram


def show_version(model: str, version: Version) -> dict[str, object]:
    """Return the YAML form of a version, without its artifacts and what the registry added."""
    shown: dict[str, object] = {"kind": "Version", "model": model, "version": version.version}
    shown |= {"graph": show_graph(version.graph)} if version.HasField("graph") else _show_signature(version)
    if version.metrics:
        shown["metrics"] = dict(sorted(version.metrics.items()))
    if version.HasField("training_profile"):
        shown["training_profile"] = _show_profile(version.training_profile)
    return shown


def _show_signature(version: Version) -> dict[str, object]:
    bindings = {binding.input: binding for binding in version.bindings}
    inputs = []
    for spec in version.signature.inputs:
        texts = [sources.form(source) for source in bindings[spec.name].sources] if spec.name in bindings else []
        inputs.append({**_show_spec(spec), "sources": texts})
    return {"inputs": inputs, "outputs": [_show_spec(spec) for spec in version.signature.outputs]}


def _show_spec(spec: TensorSpec) -> dict[str, object]:
    shown: dict[str, object] = {"name": spec.name, "type": type_name(spec.data_type)}
    if spec.shape:
        shown["shape"] = list(spec.shape)
    if spec.finite:
        shown["finite"] = True
    return shown


def _show_profile(profile: TrainingProfile) -> dict[str, object]:
    features = []
    for histogram in profile.features:
        shown = {"name": histogram.name, "edges": list(histogram.edges), "counts": list(histogram.counts)}
        features.append(shown | ({"null_fraction": histogram.null_fraction} if histogram.null_fraction else {}))
    return {"rows": profile.rows, "features": features}
