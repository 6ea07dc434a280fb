"""Models, to and from their YAML form."""

from __future__ import annotations

from predictmesh.registry.v1.model_pb2 import MetricGate, Model
from services.cli.resources.cursor import Cursor
from services.cli.values import whole


def read_model(document: Cursor) -> Model:
    """Return the model that `document` defines: what is said of it, its aliases, and the gates of its metrics."""
    members = document.mapping(("kind", "name"), ("description", "aliases", "gates"))
    model = Model(name=members["name"].text())
    if "description" in members:
        model.description = members["description"].text()
    if "aliases" in members:
        for alias, version in members["aliases"].members().items():
            model.aliases[alias] = version.text()
    if "gates" in members:
        model.metric_gates.extend(_read_gate(metric, gate) for metric, gate in members["gates"].members().items())
    return model


def _read_gate(metric: str, cursor: Cursor) -> MetricGate:
    bounds = cursor.mapping((), ("min", "max"))
    return MetricGate(metric=metric, **{name: bound.number() for name, bound in bounds.items()})


def show_model(model: Model) -> dict[str, object]:
    """Return the YAML form of `model`, without its versions."""
    shown: dict[str, object] = {"kind": "Model", "name": model.name}
    if model.description:
        shown["description"] = model.description
    if model.aliases:
        shown["aliases"] = dict(sorted(model.aliases.items()))
    if model.metric_gates:
        shown["gates"] = {gate.metric: _show_gate(gate) for gate in model.metric_gates}
    return shown


def _show_gate(gate: MetricGate) -> dict[str, float]:
    return {name: whole(getattr(gate, name)) for name in ("min", "max") if gate.HasField(name)}
