"""The rules of versions, apart from their bindings."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from itertools import pairwise

import orjson

from services.registry.definitions import (
    Artifact,
    DataType,
    FeatureHistogram,
    GoldenSet,
    TensorSpec,
    TrainingProfile,
    Version,
)
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.names import check_tensor_name, check_unique, check_version, is_sha256
from services.registry.runtimes import ONNX, check_artifact

MAX_ELEMENTS = 2**31


def check_content(version: Version, path: str, faults: Faults) -> None:
    """Number, signature, artifacts, metrics, training profile and golden set, as far as no upload has to be read.

    Of a composed version not what follows from its graph.
    """
    check_version(version.version, f"{path}.version", faults)
    if version.graph:
        _check_made_of_versions(version, path, faults)
    else:
        for name, specs in (("inputs", version.signature.inputs), ("outputs", version.signature.outputs)):
            _check_specs(specs, f"{path}.signature.{name}", faults)
        _check_artifacts(version.artifacts, f"{path}.artifacts", faults)
    for name, value in version.metrics.items():
        if not name or not math.isfinite(value):
            faults.add(InvalidDefinition, f"{path}.metrics.{name}", "a metric has a name and a finite value")
    if version.training_profile:
        _check_profile(version.training_profile, f"{path}.training_profile", faults)
    if version.golden:
        _check_golden(version.golden, f"{path}.golden", faults)


def digest_of(version: Version, nodes: Mapping[str, str] | None = None) -> str:
    """SHA-256 (hex) over what the version computes: signature, bindings, artifacts, and the graph where there is one.

    With the graph those of its model nodes' versions, `nodes` by name: a number may be given anew to other content.

    Canonical form: the JSON of these, keys sorted, without spaces, bytes in base64. Sizes follow from the artifacts' own
    digests.
    """
    content: dict[str, object] = {
        "signature": version.signature,
        "bindings": version.bindings,
        "artifacts": [_identity(artifact) for artifact in version.artifacts],
        **({"graph": version.graph, "nodes": nodes} if version.graph else {}),
    }
    return hashlib.sha256(orjson.dumps(content, _plain, orjson.OPT_SORT_KEYS)).hexdigest()


def uploads_of(version: Version) -> frozenset[str]:
    """Digests of the bytes that the version needs: its artifacts and its golden set."""
    golden = {version.golden.sha256} if version.golden else set()
    return frozenset(artifact.sha256 for artifact in version.artifacts if artifact.sha256) | golden


def _plain(value: object) -> str:
    """Bytes, which only defaults of a graph's nodes have."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no part of a version")


def _identity(artifact: Artifact) -> tuple[str, ...]:
    """What tells artifacts apart; of two parts where the others are not set, as digests were before there were others."""
    more = (artifact.format, artifact.target)
    return (artifact.runtime, artifact.sha256, *(more if any(more) else ()))


def warnings_of(version: Version) -> list[str]:
    """What is allowed, but should be known to who registers it. A composed version's nodes have warned of themselves."""
    if version.graph:
        return []
    runtimes = [artifact.runtime for artifact in version.artifacts]
    if ONNX not in runtimes:
        return [f"no {ONNX} artifact: the version has no CPU fallback when {' and '.join(runtimes)} cannot answer"]
    behind = runtimes[runtimes.index(ONNX) + 1 :]
    if not behind:
        return []
    return [
        f"{ONNX} stands first, so {' and '.join(behind)} computes only when it cannot; the first choice stands first"
    ]


def _check_made_of_versions(version: Version, path: str, faults: Faults) -> None:
    """A composed version has no bytes, and takes nothing of which a distribution could be told apart from its nodes'."""
    for name in ("artifacts", "golden", "training_profile"):
        if getattr(version, name):
            why = "the versions of a graph's nodes have them, the composed version does not: leave it out"
            faults.add(InvalidDefinition, f"{path}.{name}", why)


def _check_specs(specs: tuple[TensorSpec, ...], path: str, faults: Faults) -> None:
    if not specs:
        faults.add(InvalidDefinition, path, "a signature has at least one input and one output")
    check_unique([spec.name for spec in specs], path, "name", faults)
    for index, spec in enumerate(specs):
        _check_spec(spec, f"{path}[{index}]", faults)


def _check_spec(spec: TensorSpec, path: str, faults: Faults) -> None:
    check_tensor_name(spec.name, f"{path}.name", faults)
    if spec.data_type is DataType.UNSPECIFIED:
        faults.add(InvalidDefinition, f"{path}.data_type", "a tensor needs a data type")
    elif spec.finite and not spec.data_type.is_float:
        faults.add(InvalidDefinition, f"{path}.finite", f"never acts: {spec.data_type} is always finite")
    if any(size < 1 for size in spec.shape) or math.prod(spec.shape) > MAX_ELEMENTS:
        faults.add(
            InvalidDefinition,
            f"{path}.shape",
            f"each dimension is at least 1, and a row at most {MAX_ELEMENTS} elements",
        )


def _check_artifacts(artifacts: tuple[Artifact, ...], path: str, faults: Faults) -> None:
    if not artifacts:
        faults.add(InvalidDefinition, path, "a version has at least one artifact")
    check_unique([artifact.runtime for artifact in artifacts], path, "runtime", faults)
    for index, artifact in enumerate(artifacts):
        check_artifact(artifact, f"{path}[{index}]", faults)


def _check_golden(golden: GoldenSet, path: str, faults: Faults) -> None:
    if not is_sha256(golden.sha256):
        faults.add(InvalidDefinition, f"{path}.sha256", "a SHA-256 is 64 digits of lower-case hex")
    for name in ("absolute_tolerance", "relative_tolerance"):
        if not 0 <= getattr(golden, name) < math.inf:
            faults.add(InvalidDefinition, f"{path}.{name}", "a tolerance is a number of 0 or more")


def _check_profile(profile: TrainingProfile, path: str, faults: Faults) -> None:
    if profile.rows < 1:
        faults.add(InvalidDefinition, f"{path}.rows", "a profile is made from at least one row")
    check_unique([histogram.name for histogram in profile.features], f"{path}.features", "name", faults)
    for index, histogram in enumerate(profile.features):
        _check_histogram(histogram, f"{path}.features[{index}]", faults)


def _check_histogram(histogram: FeatureHistogram, path: str, faults: Faults) -> None:
    edges = histogram.edges
    ascending = all(low < high for low, high in pairwise(edges))
    if not ascending or not all(map(math.isfinite, edges)):
        faults.add(InvalidDefinition, f"{path}.edges", "edges are finite and ascend")
    if len(histogram.counts) != len(edges) + 1 or any(count < 0 for count in histogram.counts):
        faults.add(InvalidDefinition, f"{path}.counts", f"{len(edges)} edges part {len(edges) + 1} counts of 0 or more")
    if not 0 <= histogram.null_fraction <= 1:
        faults.add(InvalidDefinition, f"{path}.null_fraction", "a fraction is 0 to 1")
