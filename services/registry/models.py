"""The rules of models: aliases that name versions, and gates that metrics can pass."""

from __future__ import annotations

import math

from services.registry.definitions import MetricGate, Model
from services.registry.errors import InvalidDefinition, NamesUnknownVersion
from services.registry.faults import Faults
from services.registry.names import check_alias, check_name, check_unique

_SHARES = frozenset({"auc", "accuracy", "precision", "recall", "f1", "average_precision", "brier"})
"""Metrics that are never below 0 nor above 1."""


def check_model(model: Model, path: str, faults: Faults) -> None:
    """The model with its versions, as it will be."""
    check_name(model.name, f"{path}.name", faults)
    for alias, version in model.aliases.items():
        at = f"{path}.aliases.{alias}"
        check_alias(alias, at, faults)
        if not model.find(version):
            faults.add(NamesUnknownVersion, at, f"there is no {model.name}@{version}")
    check_unique([gate.metric for gate in model.metric_gates], f"{path}.metric_gates", "metric", faults)
    for index, gate in enumerate(model.metric_gates):
        _check_gate(gate, f"{path}.metric_gates[{index}]", faults)


def _check_gate(gate: MetricGate, path: str, faults: Faults) -> None:
    bounds = {name: bound for name in ("min", "max") if (bound := getattr(gate, name)) is not None}
    if not gate.metric:
        faults.add(InvalidDefinition, f"{path}.metric", "name a metric of the versions")
    if not bounds:
        faults.add(InvalidDefinition, path, "a gate without min and max never acts: give one of them")
    for name, bound in bounds.items():
        if not math.isfinite(bound):
            faults.add(InvalidDefinition, f"{path}.{name}", f"{bound} is no bound: leave it out for none")
        elif gate.metric in _SHARES and not 0 <= bound <= 1:
            faults.add(InvalidDefinition, f"{path}.{name}", f"{gate.metric} is 0 to 1, and {bound:g} is not")
    if len(bounds) == 2 and bounds["min"] > bounds["max"]:
        faults.add(
            InvalidDefinition, f"{path}.min", f"{bounds['min']:g} is above max, {bounds['max']:g}: none can pass"
        )
