"""Where a version stands, by what model processes report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from predictmesh.model.v1.runtime_pb2 import GoldenState, RuntimeState, RuntimeStatus
from predictmesh.registry.v1.model_pb2 import Model, Version
from predictmesh.registry.v1.registry_service_pb2 import InstanceReport
from services.cli.labels import words

Reports = Sequence[InstanceReport]


def states_of(model: Model, version: Version, reports: Reports) -> list[str]:
    """Return e.g. ["triton ready on 2", "onnx failed on 1"]: states by runtime, with the number of processes."""
    return _counted(
        version,
        (
            (status.runtime, words(RuntimeState.Name, "RUNTIME_STATE_", status.state))
            for status in _told(model, version, reports)
        ),
    )


def golden_of(model: Model, version: Version, reports: Reports) -> list[str]:
    """Return e.g. ["onnx passed on 2"]: what the version's golden set came to; nothing if it has none."""
    if not version.HasField("golden"):
        return []
    found = (
        (status.runtime, words(GoldenState.Name, "GOLDEN_STATE_", status.golden))
        for status in _told(model, version, reports)
        if status.golden
    )
    return _counted(version, found) or ["not run"]


def messages_of(model: Model, version: Version, reports: Reports) -> list[tuple[str, str]]:
    """Return what is wrong on which runtime, each once: why it is not ready, or not as the golden set says."""
    found = [
        (status.runtime, text)
        for status in _told(model, version, reports)
        for text in (status.message, status.golden_message)
        if text
    ]
    return list(dict.fromkeys(found))


def _told(model: Model, version: Version, reports: Reports) -> Iterator[RuntimeStatus]:
    for report in reports:
        for status in report.runtimes:
            if (status.model, status.version) == (model.name, version.version):
                yield status


def _counted(version: Version, told: Iterator[tuple[str, str]]) -> list[str]:
    # The first choice stands first; a process may still report a runtime of a version that had the same number.
    place = {artifact.runtime: index for index, artifact in enumerate(version.artifacts)}
    found = sorted(Counter(told).items(), key=lambda item: (place.get(item[0][0], len(place)), item[0]))
    return [f"{runtime} {state} on {count}" for (runtime, state), count in found]
