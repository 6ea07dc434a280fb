"""The answer of a composed version to one member of a batch: its outputs, the path of its rows, and what was degraded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.gateway.graph.nodes import CascadeNode, EnsembleNode, ModelNode
from services.gateway.prediction import Degradation, DegradationReason, NodeState, NodeStep, Outcome
from services.gateway.slices import blanked, degradations_of, explanation_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.gateway.graph.batch import GraphBatch
    from services.gateway.request import Member
    from services.mesh.errors import MeshError

_WITHOUT = (NodeState.DEFAULTED, NodeState.LEFT_OUT)
_STATES = {state.value: state for state in NodeState}


def outcome_at(graph_batch: GraphBatch, member: Member, start: int, errors: Mapping[int, MeshError]) -> Outcome:
    """Return the outcome of the member whose rows begin at `start`; `errors` are those of some of its rows, by its row."""
    target, batch = graph_batch.target, graph_batch.batch
    end = start + member.rows
    outputs = []
    for port, spec in zip(graph_batch.graph.outputs, target.outputs, strict=True):
        values = graph_batch.values[port.node]
        assert values is not None
        own = values[port.output][start:end]
        outputs.append(blanked(own, spec.dtype, errors) if errors else own)
    features, views = batch.features, len(target.views)
    ages = [] if features is None else features.ages_us[start * views : end * views].tolist()
    degradations = degradations_of(target, member, start, features) if features and features.statuses else []
    computed = [row for row in range(member.rows) if row not in errors]
    steps = _steps(graph_batch, start, computed, member.rows)
    degradations += [
        Degradation(DegradationReason.NODE_FAILED, step.node, step.rows) for step in steps if step.state in _WITHOUT
    ]
    runtime, stood_in = _runtimes(graph_batch, start, computed, member.rows)
    outcome = Outcome(outputs, dict(errors), ages, degradations + stood_in, runtime, nodes=steps)
    if member.explain:
        outcome.explanation = explanation_of(target, member, start, features, batch.tensors)
    return outcome


def _steps(graph_batch: GraphBatch, start: int, computed: list[int], rows: int) -> list[NodeStep]:
    """Return what became of the computed rows at each model node and cascade, in the order of computation."""
    states = graph_batch.state[:, start : start + rows].tolist()
    steps: list[NodeStep] = []
    for place, node in enumerate(graph_batch.graph.nodes):
        if isinstance(node, EnsembleNode):
            continue
        found: dict[tuple[NodeState, str], list[int]] = {}
        for row in computed:
            state = _STATES[states[place][row]]
            found.setdefault((state, _cause(graph_batch, place, state, start + row)), []).append(row)
        for (state, cause), own in found.items():
            at = (place, start + own[0])
            step = NodeStep(node.name, state, [] if len(own) == rows else own, cause)
            step.duration_us, step.batch_rows = int(graph_batch.duration_us[at]), int(graph_batch.batch_rows[at])
            steps.append(step)
    return steps


def _cause(graph_batch: GraphBatch, place: int, state: NodeState, row: int) -> str:
    if state in _WITHOUT:
        return graph_batch.causes[place, row].reason
    if state in {NodeState.SKIPPED, NodeState.CHOSEN}:
        cascade = graph_batch.graph.nodes[graph_batch.graph.cascade or 0]
        assert isinstance(cascade, CascadeNode)
        return graph_batch.graph.nodes[cascade.stages[int(graph_batch.chosen[row])].node].name
    return ""


def _runtimes(graph_batch: GraphBatch, start: int, computed: list[int], rows: int) -> tuple[str, list[Degradation]]:
    """Return the runtimes that computed, in the order of the nodes, and a degradation for each that stood in for another."""
    found: dict[int, list[int]] = {}
    for place, node in enumerate(graph_batch.graph.nodes):
        if not isinstance(node, ModelNode):
            continue
        for row in computed:
            if graph_batch.state[place, start + row] == NodeState.COMPUTED.value:
                found.setdefault(int(graph_batch.source[place, start + row]), []).append(row)
    sources = {place: graph_batch.sources[place] for place in found}
    stood_in: dict[tuple[DegradationReason, str], set[int]] = {}
    for place, source in sources.items():
        if source.reason is not None:
            stood_in.setdefault((source.reason, source.instead_of), set()).update(found[place])
    names = dict.fromkeys(source.runtime for source in sources.values())
    return ",".join(names), [
        Degradation(reason, instead_of, [] if len(own) == rows else sorted(own))
        for (reason, instead_of), own in stood_in.items()
    ]
