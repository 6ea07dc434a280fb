"""What the metrics have of a composed version's nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.gateway.graph.nodes import ModelNode
from services.mesh.telemetry import names

if TYPE_CHECKING:
    from prometheus_client import Counter

    from services.gateway.target import Target


class NodeMetrics:
    """Counts rows and times calls by node, named by its place in the graph; does nothing unless `measured`."""

    def __init__(self, target: Target, *, measured: bool) -> None:
        assert target.graph is not None
        self._version = (target.model, target.version)
        self._names = [node.name for node in target.graph.nodes]
        self._measured = measured
        self._rows: dict[tuple[int, str], Counter] = {}
        self._durations = {
            place: names.NODE_DURATION.labels(*self._version, node.name)
            for place, node in enumerate(target.graph.nodes)
            if measured and isinstance(node, ModelNode)
        }
        self._hop_duration = names.HOP_DURATION.labels("model")

    def count(self, place: int, state: str, rows: int) -> None:
        """Count rows by what became of them at a node."""
        if not self._measured:
            return
        counter = self._rows.get((place, state))
        if counter is None:
            labels = (*self._version, self._names[place], state)
            counter = self._rows[place, state] = names.NODE_ROWS.labels(*labels)
        counter.inc(rows)

    def observe(self, place: int, seconds: float) -> None:
        """Note how long a node's call has taken."""
        if self._measured:
            self._durations[place].observe(seconds)
            self._hop_duration.observe(seconds)

    def retire(self) -> None:
        """Take everything out of the metrics; what is under way puts nothing back."""
        self._measured = False
        for place in self._durations:
            names.NODE_DURATION.remove(*self._version, self._names[place])
        for place, state in self._rows:
            names.NODE_ROWS.remove(*self._version, self._names[place], state)
