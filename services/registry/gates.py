"""Gates: what a version must have shown before it may answer callers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from services.mesh.errors import FieldViolation
from services.registry.binding import check_binding
from services.registry.catalog import Catalog
from services.registry.definitions import MetricGate, Model, Release, Version
from services.registry.errors import GateFailed
from services.registry.faults import Faults
from services.registry.graphs import node_versions
from services.registry.readiness import GoldenState, Readiness, RuntimeState, RuntimeStatus

_READY = "ready"


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition: what was found, and what to do about it where it is not passed.

    The name is binding, artifacts, ready, golden/RUNTIME or metric/NAME. In place of artifacts, ready and golden/RUNTIME a
    composed version has all but binding of its nodes' versions, which are called node/NODE/artifacts and so on.
    """

    name: str
    passed: bool
    message: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """What is wrong and what to do, in one sentence."""
        return f"{self.message}: {self.remedy}" if self.remedy else self.message


def gates_of(
    catalog: Catalog, model: Model, version: Version, readiness: Readiness, stored: Mapping[str, int]
) -> tuple[Gate, ...]:
    """Every gate of a version as of now; `stored` holds the lengths of the uploads that it needs, by SHA-256."""
    if version.graph is None:
        loading = _loading(model, version, readiness, stored)
    else:
        loading = [
            replace(gate, name=f"{_node_prefix(node)}{gate.name}")
            for node, its_model, member in node_versions(version, catalog.models)
            for gate in (*_loading(its_model, member, readiness, stored), *_metrics(its_model, member))
        ]
    return (_binding(catalog, version), *loading, *_metrics(model, version))


def ready_gates(catalog: Catalog, version: Version) -> dict[str, Version]:
    """The versions that have to be READY for the version to be, by the names of the gates that say whether they are."""
    if version.graph is None:
        return {_READY: version}
    return {f"{_node_prefix(node)}{_READY}": member for node, _, member in node_versions(version, catalog.models)}


def failed(gates: Iterable[Gate]) -> tuple[Gate, ...]:
    """Those that the version has not passed."""
    return tuple(gate for gate in gates if not gate.passed)


def unforced(gates: Iterable[Gate], release: Release) -> tuple[Gate, ...]:
    """Those that the release's candidate has not passed, and that nobody has overridden."""
    return tuple(gate for gate in failed(gates) if gate.name not in release.forced_gates)


def refusal(model: str, version: str, gates: Iterable[Gate]) -> GateFailed:
    """The error that names each failed gate and its remedy."""
    found = failed(gates)
    return GateFailed(
        f"{model}@{version} may not answer callers: {'; '.join(f'{gate.name}: {gate.message}' for gate in found)}",
        violations=[FieldViolation(gate.name, gate.text) for gate in found],
        model=model,
        version=version,
    )


def _node_prefix(node: str) -> str:
    return f"node/{node}/"


def _loading(model: Model, version: Version, readiness: Readiness, stored: Mapping[str, int]) -> list[Gate]:
    """What model processes need for the version, and what they have said of it."""
    told = readiness.told(model.name, version)
    ready = [status for status in told if status.state is RuntimeState.READY]
    why_not = readiness.why_not_ready(model.name, version)
    return [_artifacts(version, stored), _ready(model, version, why_not, ready), *_golden(version, ready)]


def _binding(catalog: Catalog, version: Version) -> Gate:
    faults = Faults()
    check_binding(version, catalog.views, "version", faults)
    if not faults:
        return Gate("binding", True, "every input has sources that fit the feature views")
    return Gate(
        "binding",
        False,
        "; ".join(faults.descriptions),
        "apply the feature views that it reads, or register a new version that is bound to those that there are",
    )


def _artifacts(version: Version, stored: Mapping[str, int]) -> Gate:
    wanted = {
        f"the {artifact.runtime} artifact": (artifact.sha256, artifact.size_bytes)
        for artifact in version.artifacts
        if artifact.sha256
    }
    if version.golden:
        wanted["the golden set"] = (version.golden.sha256, version.golden.size_bytes)
    wrong = [
        f"{what} {sha256[:12]} " + (f"has {stored[sha256]} bytes, not {size}" if sha256 in stored else "is not stored")
        for what, (sha256, size) in wanted.items()
        if stored.get(sha256) != size
    ]
    if wrong:
        remedy = "register the version again with the same files, which uploads what is missing"
        return Gate("artifacts", False, "; ".join(wrong), remedy)
    return Gate("artifacts", True, f"{len(wanted)} stored, each with its size" if wanted else "it has no bytes")


def _ready(model: Model, version: Version, why_not: str, ready: list[RuntimeStatus]) -> Gate:
    if not ready:
        return Gate(_READY, False, why_not, "start a model process that has one of its runtimes, or wait until it has")
    runtimes = ", ".join(dict.fromkeys(status.runtime for status in ready))
    return Gate(_READY, True, f"{model.name}@{version.version} is READY on {runtimes}")


def _golden(version: Version, ready: list[RuntimeStatus]) -> list[Gate]:
    """One gate for each runtime that will serve: those on which a live process has the version READY."""
    runtimes = sorted({status.runtime for status in ready})
    return [_golden_on(runtime, version, [each for each in ready if each.runtime == runtime]) for runtime in runtimes]


def _golden_on(runtime: str, version: Version, told: list[RuntimeStatus]) -> Gate:
    name = f"golden/{runtime}"
    if version.golden is None:
        return Gate(name, True, "the version has no golden set")
    wrong = next((status for status in told if status.golden is GoldenState.FAILED), None)
    if wrong:
        remedy = "register a new version whose artifact gives the recorded outputs, or whose golden set is right"
        return Gate(name, False, wrong.golden_message or "other outputs than those recorded", remedy)
    if any(status.golden is GoldenState.UNSPECIFIED for status in told):
        remedy = "wait for the model process to report it; one of an older release never does, and has to be replaced"
        return Gate(name, False, f"the golden set has not been run on {runtime} yet", remedy)
    return Gate(name, True, "the recorded outputs came out")


def _metrics(model: Model, version: Version) -> list[Gate]:
    return [_metric(gate, model, version) for gate in model.metric_gates]


def _metric(gate: MetricGate, model: Model, version: Version) -> Gate:
    name = f"metric/{gate.metric}"
    change = f"or change the gate of model {model.name}"
    value = version.metrics.get(gate.metric)
    if value is None:
        remedy = f"register a new version with this metric in its --report, {change}"
        return Gate(name, False, f"the version has no metric {gate.metric}", remedy)
    if gate.min is not None and value < gate.min:
        return Gate(name, False, f"{value:g} is below {gate.min:g}", f"register a better version, {change}")
    if gate.max is not None and value > gate.max:
        return Gate(name, False, f"{value:g} is above {gate.max:g}", f"register a better version, {change}")
    return Gate(name, True, f"{value:g} is {_bounds(gate)}")


def _bounds(gate: MetricGate) -> str:
    bounds = [
        f"at least {gate.min:g}" if gate.min is not None else "",
        f"at most {gate.max:g}" if gate.max is not None else "",
    ]
    return " and ".join(filter(None, bounds))
