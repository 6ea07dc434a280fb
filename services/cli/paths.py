"""The path that an answer took: the steps of the fallback ladder, and the nodes of a composed version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from predictmesh.gateway.v1.provenance_pb2 import LadderStep, LadderStepKind, NodeState, NodeStep, Provenance
from services.cli import durations
from services.cli.labels import words
from services.cli.output import print_table

_SHORTEST_RUN = 3


def print_path(made: Provenance) -> None:
    """Print a table of each, where the answer has it."""
    if made.ladder:
        click.echo()
        print_table(["step", "answered", "time", "why it left the others"], [_ladder_row(step) for step in made.ladder])
    if made.nodes:
        click.echo()
        print_table(["node", "state", "rows", "why", "time", "in the batch"], [_node_row(node) for node in made.nodes])


def _ladder_row(step: LadderStep) -> list[object]:
    what = words(LadderStepKind.Name, "LADDER_STEP_KIND_", step.kind)
    age = f", {durations.rounded(step.age_ms * 1_000)} old" if step.HasField("age_ms") else ""
    reason = f"{step.message} [{step.reason}]" if step.reason else ""
    answered = rows_text(step.answered_rows) or "none"
    return [f"{what} {step.version}".rstrip() + age, answered, durations.rounded(step.duration_us), reason]


def _node_row(step: NodeStep) -> list[object]:
    state = words(NodeState.Name, "NODE_STATE_", step.state)
    time = durations.rounded(step.duration_us) if step.duration_us else ""
    return [step.node, state, rows_text(step.rows) or "all", _cause(step), time, step.batch_rows or ""]


def _cause(step: NodeStep) -> str:
    if not step.cause:
        return ""
    told = {
        NodeState.NODE_STATE_SKIPPED: f"{step.cause} was sure",
        NodeState.NODE_STATE_CHOSEN: f"{step.cause} stands",
    }
    return told.get(step.state, step.cause)


def rows_text(rows: Iterable[int]) -> str:
    """Return ascending rows, long runs by their ends: `0, 2, 4 to 9`."""
    return ", ".join(_runs(rows))


def _runs(rows: Iterable[int]) -> Iterator[str]:
    run: list[int] = []
    for row in rows:
        if run and row != run[-1] + 1:
            yield from _run(run)
            run = []
        run.append(row)
    yield from _run(run)


def _run(run: list[int]) -> list[str]:
    return [f"{run[0]} to {run[-1]}"] if len(run) >= _SHORTEST_RUN else [str(row) for row in run]
