"""Where a version stands, by what model processes report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from predictmesh.model.v1.runtime_pb2 import GoldenState, RuntimeState, RuntimeStatus
from predictmesh.registry.v1.model_pb2 import Model, Version
from predictmesh.registry.v1.registry_service_pb2 import InstanceReport
from services.cli.labels import words

Reports = Sequence[InstanceReport]


def states_of(model: Model, version: Version, reports: Reports) -> list[str]:
    """Return e.g. ["triton ready on 2", "onnx failed on 1"]: states by runtime, with the number of processes.

    A composed version stands as its nodes do: ["mlp onnx ready on 1", "trees not loaded"].
    """
    told = [
        (runtime, words(RuntimeState.Name, "RUNTIME_STATE_", status.state))
        for runtime, status in _told(model, version, reports)
    ]
    heard_of = {runtime.partition(" ")[0] for runtime, _ in told}
    return _counted(version, told) + [f"{node} not loaded" for node in _nodes(version) if node not in heard_of]


def nodes_of(version: Version) -> list[str]:
    """Return e.g. ["delay@1.0.0", "delay@2.0.0"]: the versions that a composed one is made of, each once."""
    return list(dict.fromkeys(f"{model}@{number}" for model, number in _nodes(version).values()))


def golden_of(model: Model, version: Version, reports: Reports) -> list[str]:
    """Return e.g. ["onnx passed on 2"]: what the version's golden set came to; nothing if it has none."""
    if not version.HasField("golden"):
        return []
    found = (
        (runtime, words(GoldenState.Name, "GOLDEN_STATE_", status.golden))
        for runtime, status in _told(model, version, reports)
        if status.golden
    )
    return _counted(version, found) or ["not run"]


def messages_of(model: Model, version: Version, reports: Reports) -> list[tuple[str, str]]:
    """Return what is wrong on which runtime, each once: why it is not ready, or not as the golden set says."""
    found = [
        (runtime, text)
        for runtime, status in _told(model, version, reports)
        for text in (status.message, status.golden_message)
        if text
    ]
    return list(dict.fromkeys(found))


def _told(model: Model, version: Version, reports: Reports) -> Iterator[tuple[str, RuntimeStatus]]:
    """Yield what is told of the version with its runtime, or of the version of each node with that and the runtime."""
    wanted = [(f"{node} ", name) for node, name in _nodes(version).items()] or [("", (model.name, version.version))]
    for prefix, name in wanted:
        for report in reports:
            for status in report.runtimes:
                if (status.model, status.version) == name:
                    yield prefix + status.runtime, status


def _nodes(version: Version) -> dict[str, tuple[str, str]]:
    """Return the model and version of each node that has one."""
    return {node.name: (node.model.model, node.model.version) for node in version.graph.nodes if node.HasField("model")}


def _counted(version: Version, told: Iterable[tuple[str, str]]) -> list[str]:
    # The first choice stands first; a process may still report a runtime of a version that had the same number.
    place = {artifact.runtime: index for index, artifact in enumerate(version.artifacts)}
    found = sorted(Counter(told).items(), key=lambda item: (place.get(item[0][0], len(place)), item[0]))
    return [f"{runtime} {state} on {count}" for (runtime, state), count in found]
