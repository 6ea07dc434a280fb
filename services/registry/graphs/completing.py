"""A graph in full: what may be left out is said, so that all who read it, and all ways of saying it, agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.registry.definitions import (
    Cascade,
    CascadeStage,
    ConfidenceMeasure,
    Ensemble,
    Graph,
    ModelNode,
    Node,
    Port,
    Version,
)
from services.registry.graphs.edges import Outputs, find_output
from services.registry.rows import completed_row


def completed(graph: Graph, versions: Mapping[str, Version], outputs: Outputs) -> Graph:
    """A graph without faults, with every port, confidence, measure, and type and shape of a default."""
    completing = _Completing(versions, outputs)
    return Graph(
        nodes=tuple(map(completing.node, graph.nodes)),
        outputs=tuple(replace(output, source=completing.port(output.source)) for output in graph.outputs),
    )


@dataclass(frozen=True, slots=True)
class _Completing:
    versions: Mapping[str, Version]
    outputs: Outputs

    def port(self, port: Port) -> Port:
        """With its output."""
        spec = find_output(self.outputs, port)
        return replace(port, output=spec.name) if spec else port

    def node(self, node: Node) -> Node:
        """Whatever kind it is."""
        return replace(
            node,
            model=self._model(node.name, node.model) if node.model else None,
            ensemble=self._ensemble(node.ensemble) if node.ensemble else None,
            cascade=self._cascade(node.cascade) if node.cascade else None,
        )

    def _model(self, name: str, node: ModelNode) -> ModelNode:
        inputs = tuple(replace(fed, sources=tuple(map(self.port, fed.sources))) for fed in node.inputs)
        outputs = self.versions[name].signature.outputs
        return replace(node, inputs=inputs, defaults=completed_row(node.defaults, outputs) if node.defaults else ())

    def _ensemble(self, ensemble: Ensemble) -> Ensemble:
        return replace(
            ensemble,
            members=tuple(replace(member, source=self.port(member.source)) for member in ensemble.members),
        )

    def _cascade(self, cascade: Cascade) -> Cascade:
        return Cascade((*map(self._stage, cascade.stages[:-1]), cascade.stages[-1]))

    def _stage(self, stage: CascadeStage) -> CascadeStage:
        measure = stage.measure
        return replace(
            stage,
            confidence=self.port(stage.confidence or Port(stage.node)),
            measure=ConfidenceMeasure.PROBABILITY if measure is ConfidenceMeasure.UNSPECIFIED else measure,
        )
