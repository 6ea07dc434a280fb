"""How rows go through a cascade: from stage to stage until one is sure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.gateway.graph.batch import NO_STAGE, GraphBatch, Index
from services.gateway.graph.combining import confidence
from services.gateway.graph.nodes import CascadeNode
from services.gateway.prediction import NodeState

if TYPE_CHECKING:
    from services.gateway.graph.nodes import Graph


def cascade_of(graph: Graph) -> CascadeNode:
    """Return the cascade of a graph that has one."""
    assert graph.cascade is not None
    node = graph.nodes[graph.cascade]
    assert isinstance(node, CascadeNode)
    return node


def judge(batch: GraphBatch, number: int, index: Index) -> tuple[Index, Index]:
    """Look at the answers of a stage: return the rows whose answer stands, and those for the next stage."""
    stage = cascade_of(batch.graph).stages[number]
    answered = batch.present(stage.node, index)
    batch.chosen[index if answered is None else index[answered]] = number
    if stage.confidence is None:
        return index, index[:0]
    sure = confidence(batch.port(stage.confidence, index), stage.measure) >= stage.threshold
    for present in (answered, batch.present(stage.confidence.node, index)):
        if present is not None:
            sure &= present
    return index[sure], index[~sure]


def choose(batch: GraphBatch, index: Index) -> Index:
    """Take the answers of the chosen stages for the cascade's; return the rows that have one, the others fail."""
    place, cascade = batch.graph.cascade, cascade_of(batch.graph)
    assert place is not None
    chosen = batch.chosen[index]
    for number in sorted(set(chosen.tolist())):
        rows = index[chosen == number]
        if number == NO_STAGE:
            for row in rows.tolist():
                batch.fail(np.array([row]), batch.cause(cascade.stages[-1].node, row))
        else:
            outputs = [batch.port(port, rows) for port in cascade.stages[number].ports]
            batch.put(place, rows, outputs, NodeState.CHOSEN)
    return batch.opened(index)
