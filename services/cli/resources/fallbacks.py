"""The fallback ladder of an endpoint, to and from its YAML form."""

from __future__ import annotations

from collections.abc import Iterable

from predictmesh.registry.v1.endpoint_pb2 import Fallback, StaticAnswer
from services.cli import durations
from services.cli.resources.cursor import Cursor
from services.cli.resources.rows import read_row, show_row

_KINDS = ("version", "last_answer", "answer")


def read_fallbacks(cursor: Cursor) -> list[Fallback]:
    """Return the steps in order; the version of a step is any selector."""
    return [_read_step(item) for item in cursor.items()]


def _read_step(cursor: Cursor) -> Fallback:
    members = cursor.mapping((), _KINDS)
    if len(members) != 1:
        cursor.fail(f"must be one of {', '.join(_KINDS)}")
    ((kind, member),) = members.items()
    if kind == "version":
        return Fallback(version=member.text())
    if kind == "last_answer":
        return Fallback(last_answer_max_age_ms=member.parsed(durations.parse_positive_ms))
    return Fallback(answer=StaticAnswer(outputs=read_row(member)))


def show_fallbacks(steps: Iterable[Fallback]) -> list[dict[str, object]]:
    """Return the YAML form of a ladder."""
    return [_show_step(step) for step in steps]


def _show_step(step: Fallback) -> dict[str, object]:
    match step.WhichOneof("kind"):
        case "last_answer_max_age_ms":
            return {"last_answer": durations.exact(step.last_answer_max_age_ms)}
        case "answer":
            return {"answer": show_row(step.answer.outputs)}
        case _:
            return {"version": step.version}
