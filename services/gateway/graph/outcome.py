"""The answer of a composed version to one member of a batch: its outputs, the path of its rows, and what was degraded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.gateway.prediction import Degradation, DegradationReason, NodeState, NodeStep, Outcome
from services.gateway.slices import blanked, degradations_of, explanation_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.gateway.graph.batch import GraphBatch
    from services.gateway.request import Member
    from services.mesh.errors import MeshError

_WITHOUT = (NodeState.DEFAULTED, NodeState.LEFT_OUT)
# By number: to hash a member of an enumeration costs more than the rest of a row's path.
_STATES = {state.value: state for state in NodeState}
_COMPUTED = NodeState.COMPUTED.value


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
    degradations: list[Degradation] = []
    if features is not None and (features.statuses or features.unreached):
        degradations = degradations_of(target, member, start, features)
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
    for place, name in graph_batch.graph.path:
        found: dict[tuple[int, str], list[int]] = {}
        for row in computed:
            number = states[place][row]
            cause = "" if number == _COMPUTED else _cause(graph_batch, place, number, start + row)
            found.setdefault((number, cause), []).append(row)
        for (number, cause), own in found.items():
            at = (place, start + own[0])
            duration_us, batch_rows = int(graph_batch.duration_us[at]), int(graph_batch.batch_rows[at])
            whose = [] if len(own) == rows else own
            steps.append(NodeStep(name, _STATES[number], whose, cause, duration_us, batch_rows))
    return steps


def _cause(graph_batch: GraphBatch, place: int, number: int, row: int) -> str:
    """Return why a node was gone on without, or which stage answered in its place; `number` is its state's."""
    if _STATES[number] in _WITHOUT:
        return graph_batch.causes[place, row].reason
    return graph_batch.graph.stage_names[int(graph_batch.chosen[row])]


def _runtimes(graph_batch: GraphBatch, start: int, computed: list[int], rows: int) -> tuple[str, list[Degradation]]:
    """Return the runtimes that computed, in the order of the nodes, and a degradation for each that stood in for another."""
    states = graph_batch.state[:, start : start + rows].tolist()
    places = graph_batch.source[:, start : start + rows].tolist()
    names: dict[str, None] = {}
    stood_in: dict[tuple[DegradationReason, str], set[int]] = {}
    for node in graph_batch.graph.models:
        for row in computed:
            if states[node][row] != _COMPUTED:
                continue
            source = graph_batch.sources[places[node][row]]
            names[source.runtime] = None
            if source.reason is not None:
                stood_in.setdefault((source.reason, source.instead_of), set()).add(row)
    return ",".join(names), [
        Degradation(reason, instead_of, [] if len(own) == rows else sorted(own))
        for (reason, instead_of), own in stood_in.items()
    ]
