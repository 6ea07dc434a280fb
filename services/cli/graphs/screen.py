"""What is shown of an endpoint: what answers it, drawn, and its fallback ladder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import click

from services.cli.graphs.answering import Answering, Step
from services.cli.graphs.diagram import Diagram, Edge
from services.cli.graphs.drawing import draw
from services.cli.graphs.flow import Flow


@dataclass(frozen=True)
class Drawn:
    """A version that answers, its diagram, and where it was asked for, the calls and what went along each edge."""

    answering: Answering
    diagram: Diagram
    calls: Flow | None
    flows: Mapping[Edge, Flow]


@dataclass(frozen=True)
class Rung:
    """A step of the fallback ladder, and where it was asked for, the rows that it answered."""

    step: Step
    rows: Flow | None


def print_screen(endpoint: str, model: str, versions: Sequence[Drawn], ladder: Sequence[Rung]) -> None:
    """Print it as wide as the terminal is."""
    width = shutil.get_terminal_size((120, 24)).columns
    for drawn in versions:
        _print_version(endpoint, model, drawn, width)
        click.echo()
    if not ladder:
        click.echo("no fallback ladder: rows that fail are answered with their error")
        return
    click.echo("fallback ladder, for rows that fail:")
    longest = max(len(rung.step.text) for rung in ladder)
    for number, rung in enumerate(ladder, 1):
        figures = "  ".join(rung.rows.texts("rows")) if rung.rows else ""
        click.echo(f"{number}. {rung.step.text.ljust(longest)}  {figures}".rstrip())


def _print_version(endpoint: str, model: str, drawn: Drawn, width: int) -> None:
    answers = drawn.answering
    share = f"{answers.percent:g} % " if answers.percent < 100 else ""
    why = f" ({answers.why})" if answers.why else ""
    click.echo(f"{endpoint}: {share}{model} {answers.version.version}{why}")
    if drawn.calls:
        click.echo(", ".join(filter(None, drawn.calls.texts("calls"))))
    figures = {edge: flow.texts("rows") for edge, flow in drawn.flows.items()}
    click.echo()
    for line in draw(drawn.diagram, width, figures):
        click.echo(line)


def plain_screen(endpoint: str, model: str, versions: Sequence[Drawn], ladder: Sequence[Rung]) -> dict[str, object]:
    """Return it as JSON can hold it: times in seconds, shares from 0 to 1."""
    return {
        "endpoint": endpoint,
        "model": model,
        "versions": [_plain_version(drawn) for drawn in versions],
        "fallbacks": [
            {"step": rung.step.text, **({"rows": asdict(rung.rows)} if rung.rows else {})} for rung in ladder
        ],
    }


def _plain_version(drawn: Drawn) -> dict[str, object]:
    answers = drawn.answering
    shown = {"version": answers.version.version, "percent": answers.percent, "why": answers.why}
    calls = {"calls": asdict(drawn.calls)} if drawn.calls else {}
    blocks = [
        {
            "kind": block.kind,
            "name": block.name,
            "what": block.what,
            "takes": [_plain_edge(edge, drawn.flows.get(edge)) for edge in block.takes],
            "gives": [asdict(output) for output in block.gives],
        }
        for block in drawn.diagram.blocks
    ]
    return {**shown, **calls, "blocks": blocks}


def _plain_edge(edge: Edge, flow: Flow | None) -> dict[str, object]:
    source = str(edge.source) if edge.source else None
    shown = {"source": source, "label": edge.label, "type": edge.type, "note": edge.note}
    return {**shown, **({"flow": asdict(flow)} if flow else {})}
