"""Where in a document a field of the registry's message was written, as messages of the registry name fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from predictmesh.registry.v1.registry_service_pb2 import Resource
from predictmesh.types.v1.tensor_pb2 import Tensor

_NAMES: Mapping[str, str] = {
    "shadow.selector": "shadow.version",
    "stale_policy": "policy",
    "sample_entities": "sample.entities",
    "sample_features": "sample.features",
    "metric_gates": "gates",
}

# Lists of messages that documents write as mappings: where they are, their name there, and the field that is the key.
_MAPPINGS = {
    "route.weights": ("route.weights", "selector"),
    "sample_entities": ("sample.entities", "name"),
    "sample_features": ("sample.features", "name"),
    "metric_gates": ("gates", "metric"),
}
# Outputs of a static answer have names in documents.
_ANSWER = re.compile(r"(fallbacks\[(\d+)\]\.answer)\.outputs(?:\[(\d+)\].*)?")
_ITEM = re.compile(rf"({'|'.join(map(re.escape, _MAPPINGS))})\[(\d+)\](?:\.(\w+))?")


def in_document(resource: Resource, path: str) -> str:
    """Return the path in the document of what stands at `path` in the message that it became."""
    message = getattr(resource, resource.WhichOneof("kind") or "feature_view")
    answer = _ANSWER.fullmatch(path)
    if answer:
        return answer[1] + _output(_items(message, "fallbacks")[int(answer[2])].answer.outputs, answer[3])
    item = _ITEM.fullmatch(path)
    if item:
        name, key = _MAPPINGS[item[1]]
        items = _items(message, item[1])
        index = int(item[2])
        if index < len(items):
            bound = f".{item[3]}" if item[3] in {"min", "max"} else ""
            return f"{name}.{getattr(items[index], key)}{bound}"
    path = _NAMES.get(path, path).replace("default_value", "default")
    # Times are written with their unit.
    return path.removesuffix("_ms").replace("last_answer_max_age", "last_answer")


def _output(outputs: Sequence[Tensor], index: str | None) -> str:
    return f".{outputs[int(index)].name}" if index and int(index) < len(outputs) else ""


def _items(message: Any, path: str) -> Sequence[Any]:  # noqa: ANN401 - a definition of any kind
    for name in path.split("."):
        message = getattr(message, name, ())
    return list(message)
