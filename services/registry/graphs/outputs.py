"""What the nodes of a graph give."""

from __future__ import annotations

from collections.abc import Mapping

from services.registry.definitions import Port, TensorSpec

Outputs = Mapping[str, tuple[TensorSpec, ...]]
"""The outputs of nodes by the nodes' names, without the nodes of which they are not known."""


def find_output(outputs: Outputs, port: Port) -> TensorSpec | None:
    """The output that the port names; the only one, if it names none."""
    found = [spec for spec in outputs.get(port.node, ()) if port.output in {spec.name, ""}]
    return found[0] if len(found) == 1 else None
