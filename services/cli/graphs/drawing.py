"""Diagrams as lines of text: one block below the other, and on their left a lane for each output that is on its way."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from services.cli.graphs.diagram import Block, Diagram, Edge, Port

Figures = Mapping[Edge, Sequence[str]]
"""What to say of edges beside their types: of each that is there equally many texts."""

_GAP = "  "
_JOINT_BELOW = "  │  "
_NARROWEST_NOTE = 30


@dataclass(frozen=True)
class _Row:
    """A line: lanes, the joint between them and the block, columns, and a note, which goes on in more lines if long."""

    lanes: str
    joint: str
    columns: tuple[str, ...] = ()
    note: str = ""
    lanes_below: str = ""


def draw(diagram: Diagram, width: int, figures: Figures) -> list[str]:
    """Return the lines that show a diagram in about `width` columns."""
    lanes = _Lanes(diagram)
    rows = [row for block in diagram.blocks for row in _rows(block, lanes, figures)]
    return _lines(rows[1:], width)


class _Lanes:
    """Which outputs are on their way, each in a lane of its own from the block that gives it to the last that takes it."""

    def __init__(self, diagram: Diagram) -> None:
        self._awaited = [edge.source for block in diagram.blocks for edge in block.takes if edge.source]
        self._lanes: list[Port | None] = []

    def __str__(self) -> str:
        """Return the lanes as they pass by."""
        return "".join("│ " if port else "  " for port in self._lanes)

    def is_awaited(self, port: Port) -> bool:
        """Whether a block that is still to come takes it."""
        return port in self._awaited

    def open(self, port: Port) -> str:
        """Give the output a lane; returns the lanes as they are joined with the block that gives it."""
        place = self._lanes.index(None) if None in self._lanes else len(self._lanes)
        self._lanes[place : place + 1] = [port]
        return self._joined(place, "╭")

    def take(self, port: Port) -> str:
        """Let a block take the output; returns the lanes as they are joined with it."""
        place = self._lanes.index(port)
        self._awaited.remove(port)
        goes_on = self.is_awaited(port)
        drawn = self._joined(place, "├" if goes_on else "╰")
        if not goes_on:
            self._lanes[place] = None
        return drawn

    def _joined(self, place: int, corner: str) -> str:
        crossed = "".join("┼─" if port else "──" for port in self._lanes[place + 1 :])
        return f"{str(self)[: 2 * place]}{corner}─{crossed}"


def _rows(block: Block, lanes: _Lanes, figures: Figures) -> Iterator[_Row]:
    yield _Row(str(lanes), "")
    yield _Row(str(lanes), "  ┌─ ", (), f"{block.name}{_GAP}{block.what}".rstrip(), str(lanes))
    blank = [""] * max(map(len, figures.values()), default=0)
    for edge in block.takes:
        drawn, joint = (lanes.take(edge.source), "─▸│  ") if edge.source else (str(lanes), " ▸│  ")
        columns = (edge.label, edge.type, *figures.get(edge, blank))
        yield _Row(drawn, joint, columns, edge.note, str(lanes))
    for output in block.gives:
        is_last = output is block.gives[-1]
        port, columns = Port(block.name, output.name), (output.name, output.type)
        if lanes.is_awaited(port):
            yield _Row(lanes.open(port), "──┴─ " if is_last else "──┤  ", columns)
        else:
            yield _Row(str(lanes), "  └─ " if is_last else "  │  ", columns)
    if not block.gives:
        yield _Row(str(lanes), "  └─")


def _lines(rows: Sequence[_Row], width: int) -> list[str]:
    lane_width = max(len(row.lanes) for row in rows)
    # Rows have the first columns, or all of them.
    widths = [max(map(len, column)) for column in zip_longest(*(row.columns for row in rows), fillvalue="")]
    return [line for row in rows for line in _row_lines(row, lane_width, widths, width)]


def _row_lines(row: _Row, lane_width: int, widths: Sequence[int], width: int) -> Iterator[str]:
    fill = "─" if row.lanes.endswith("─") else " "
    columns = "".join(cell.ljust(size) + _GAP for cell, size in zip(row.columns, widths, strict=False))
    start = lane_width + len(_JOINT_BELOW) + len(columns)
    first, *others = textwrap.wrap(row.note, max(width - start, _NARROWEST_NOTE)) or [""]
    yield f"{row.lanes.ljust(lane_width, fill)}{row.joint}{columns}{first}".rstrip()
    for text in others:
        yield f"{row.lanes_below.ljust(lane_width)}{_JOINT_BELOW}{' ' * len(columns)}{text}"
