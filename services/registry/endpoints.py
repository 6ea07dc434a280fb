"""The rules of endpoints: who answers, what is kept of the answers, and a sample request."""

from __future__ import annotations

import math
from collections.abc import Mapping

from services.registry.asking import differing
from services.registry.binding import Views, keys_of
from services.registry.definitions import Endpoint, Model, OutcomeKind, OutcomePolicy, TensorSpec, Version
from services.registry.definitions.tensors import DataType
from services.registry.errors import InvalidDefinition, NamesUnknownModel
from services.registry.fallbacks import check_fallbacks
from services.registry.faults import Faults
from services.registry.names import check_name
from services.registry.routes import answering, check_percent, check_route, check_shadow
from services.registry.samples import check_sample

MAX_TIMEOUT_MS = 600_000
# A second to a year.
OUTCOME_EXPIRY_MS = (1_000, 365 * 86_400_000)


def check_endpoint(endpoint: Endpoint, models: Mapping[str, Model], views: Views, path: str, faults: Faults) -> None:
    """The endpoint with its model and views, as they will be."""
    check_name(endpoint.name, f"{path}.name", faults)
    if not 0 <= endpoint.default_timeout_ms <= MAX_TIMEOUT_MS:
        faults.add(InvalidDefinition, f"{path}.default_timeout_ms", f"0 (the default) to {MAX_TIMEOUT_MS} ms")
    model = models.get(endpoint.model)
    if not model:
        faults.add(NamesUnknownModel, f"{path}.model", f"there is no model {endpoint.model!r}")
        return
    check_route(endpoint.route, model, f"{path}.route", faults)
    if endpoint.shadow:
        check_shadow(endpoint.shadow, model, f"{path}.shadow", faults)
    versions = answering(endpoint.route, model)
    for version in versions:
        _check_answering(endpoint, version, views, path, faults)
    check_fallbacks(endpoint, versions, model, views, f"{path}.fallbacks", faults)
    for version in versions[1:]:
        otherwise = differing(versions[0], version, views)
        if otherwise:
            why = f"{version.version} takes another {', '.join(otherwise)} than {versions[0].version}"
            faults.add(InvalidDefinition, f"{path}.route.weights", f"{why}: a request could be of one of them only")


def _check_answering(endpoint: Endpoint, version: Version, views: Views, path: str, faults: Faults) -> None:
    """What the endpoint says must hold for every version that answers it."""
    keys = keys_of(version, views)
    if endpoint.sticky_key and endpoint.sticky_key not in keys:
        known = ", ".join(sorted(keys)) or "none"
        why = f"is no key column of {endpoint.model}@{version.version}; it has {known}"
        faults.add(InvalidDefinition, f"{path}.sticky_key", f"{endpoint.sticky_key!r} {why}")
    if endpoint.outcomes:
        check_outcomes(endpoint.outcomes, version, f"{path}.outcomes", faults)


def check_samples(endpoint: Endpoint, models: Mapping[str, Model], views: Views, path: str, faults: Faults) -> None:
    """The sample request is one that every version that answers can take. An alias that moves later leaves it as it is."""
    model = models.get(endpoint.model)
    for version in answering(endpoint.route, model) if model else ():
        check_sample(endpoint, version, views, path, faults)


def check_outcomes(policy: OutcomePolicy, version: Version, path: str, faults: Faults) -> None:
    """The policy fits what the version answers."""
    spec = next((each for each in version.signature.outputs if each.name == policy.output), None)
    if spec is None:
        known = ", ".join(each.name for each in version.signature.outputs)
        faults.add(InvalidDefinition, f"{path}.output", f"{version.version} has no output {policy.output!r}: {known}")
    else:
        _check_score(policy, spec, path, faults)
    if policy.sample_percent:
        check_percent(policy.sample_percent, f"{path}.sample_percent", faults)
    if policy.capture_percent:
        check_percent(policy.capture_percent, f"{path}.capture_percent", faults)
        if policy.capture_percent > (policy.sample_percent or 100):
            why = "only what is kept can be kept with features: at most sample_percent"
            faults.add(InvalidDefinition, f"{path}.capture_percent", why)
    least, most = OUTCOME_EXPIRY_MS
    if policy.expire_ms and not least <= policy.expire_ms <= most:
        faults.add(InvalidDefinition, f"{path}.expire_ms", f"{least} (a second) to {most} (a year), or 0 for 7 days")


def _check_score(policy: OutcomePolicy, spec: TensorSpec, path: str, faults: Faults) -> None:
    if policy.kind is OutcomeKind.UNSPECIFIED:
        faults.add(InvalidDefinition, f"{path}.kind", "a label is BINARY (0 or 1) or REGRESSION (a number)")
    elif spec.data_type is DataType.BYTES or (policy.kind is OutcomeKind.BINARY and not spec.data_type.is_float):
        wanted = "a probability is FP16, FP32 or FP64" if policy.kind is OutcomeKind.BINARY else "a score is a number"
        faults.add(InvalidDefinition, f"{path}.output", f"output {spec.name} is {spec.data_type}: {wanted}")
    elements = math.prod(spec.shape)
    if policy.element >= elements:
        faults.add(InvalidDefinition, f"{path}.element", f"a row of {spec.name} has {elements} elements, from 0")
