"""Diagrams are drawn as text, each edge on a line of its own with its type."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictmesh.registry.v1.graph_pb2 import ConfidenceMeasure
from services.cli.errors import Mistake
from services.cli.graphs.diagram import Block, Diagram, Edge, Kind, Output, Port
from services.cli.graphs.drawing import draw
from services.cli.graphs.reading import read_diagram
from tests.unit.cli.graphs.samples import composed, models

COMPOSED = """\
        ┌─ mlp  delay 1.0.0
       ▸│  X                  FP32[12]  plane (2, age), tail_lateness (1), request (hour, distance)
╭───────┴─ probability        FP32[1]
│
│       ┌─ trees  delay 2.0.0, optional, else probability 0.2, classes [1, 2]
│      ▸│  X                  FP32[14]  plane (2, age), tail_lateness (1), request (hour, distance)
│ ╭─────┤  probability        FP32[1]
│ │     └─ classes            INT64[2]
│ │
│ │     ┌─ post  tools/calibrate 1.0.0
├─┼────▸│  mlp.probability    FP32[1]   as scores, part 1 of 2
│ ├────▸│  trees.probability  FP32[1]   as scores, part 2 of 2
│ │ ╭───┴─ probability        FP32[1]
│ │ │
│ │ │   ┌─ both  weighted mean
├─┼─┼──▸│  mlp.probability    FP32[1]   weight 0.3
│ │ ╰──▸│  post.probability   FP32[1]   weight 0.7
│ │ ╭───┴─ probability        FP32[1]
│ │ │
│ │ │   ┌─ sure  cascade
╰─┼─┼──▸│  mlp.probability    FP32[1]   stage 1, stands from confidence 0.8
  │ ╰──▸│  both.probability   FP32[1]   stage 2, stands always
╭─┼─────┴─ probability        FP32[1]
│ │
│ │     ┌─ answer
╰─┼────▸│  sure.probability   FP32[1]
  ╰────▸│  trees.probability  FP32[1]   as raw
        └─
"""
PLAIN = """\
    ┌─ delay  1.0.0
   ▸│  X            FP32[12]  plane (2, age), tail_lateness
    │                         (1), request (hour, distance)
╭───┴─ probability  FP32[1]
│
│   ┌─ answer
╰──▸│  probability  FP32[1]
    └─
"""


def text(diagram: Diagram, width: int = 120) -> str:
    """Draw without figures."""
    return "\n".join(draw(diagram, width, {})) + "\n"


def test_composed() -> None:
    """Nodes stand behind what they take from, with what is optional, its defaults, weights and thresholds."""
    assert COMPOSED == text(read_diagram("delay", composed(), models()))


def test_confidence_is_the_only_output() -> None:
    """A stage of which nothing is said else is as sure as its only output says."""
    version = composed()
    version.graph.nodes[0].cascade.stages[0].ClearField("confidence")
    assert COMPOSED == text(read_diagram("delay", version, models()))


def test_plain_version_on_a_narrow_screen() -> None:
    """A version that is not composed is one block; what is too long goes on below itself."""
    found = models()
    assert PLAIN == text(read_diagram("delay", found["delay"].versions[0], found), 60)


def test_figures_stand_beside_types() -> None:
    """Every edge has its figures in columns of their own, also one that has none of some kind."""
    diagram = read_diagram("delay", composed(), models())
    edges = [edge for block in diagram.blocks for edge in block.takes]
    lines = draw(diagram, 110, dict.fromkeys(edges[:-1], ("1 rows/s", "")) | {edges[-1]: ("12 rows/s", "7 %")})
    assert (
        "       ▸│  X                  FP32[12]  1 rows/s        plane (2, age), tail_lateness (1), request (hour,"
        in lines
    )
    assert f"        │{' ' * 47}distance)" in lines
    assert "  ╰────▸│  trees.probability  FP32[1]   12 rows/s  7 %  as raw" in lines


def test_left_out() -> None:
    """An optional node without defaults says that it is left out."""
    version = composed()
    del version.graph.nodes[3].model.defaults[:]
    assert "trees  delay 2.0.0, optional, else left out\n" in text(read_diagram("delay", version, models()))


def test_confidence_of_another_node() -> None:
    """What tells how sure a stage is has an edge of its own where it is not the stage's only output."""
    version = composed()
    stage = version.graph.nodes[0].cascade.stages[0]
    stage.confidence.node, stage.confidence.output, stage.threshold = "trees", "probability", 1.5
    stage.measure = ConfidenceMeasure.CONFIDENCE_MEASURE_VALUE
    shown = text(read_diagram("delay", version, models()))
    assert "mlp.probability    FP32[1]   stage 1, stands from value 1.5 of trees.probability\n" in shown
    assert "trees.probability  FP32[1]   confidence of stage 1\n" in shown


def test_version_that_is_gone() -> None:
    """A node whose version is not there is a mistake that names it."""
    found = models()
    del found["tools/calibrate"]
    with pytest.raises(Mistake, match=r"no version 1\.0\.0 of model 'tools/calibrate'"):
        read_diagram("delay", composed(), found)


@st.composite
def diagrams(drawn: st.DrawFn) -> Diagram:
    """Blocks that take any outputs of any blocks before them, some twice and some never."""
    blocks: list[Block] = []
    for number in range(drawn(st.integers(1, 8))):
        ports = [Port(block.name, output.name) for block in blocks for output in block.gives]
        taken = drawn(st.lists(st.sampled_from([None, *ports]), max_size=5))
        edges = [Edge(port, f"n{number}", str(port), "FP32") for port in taken]
        gives = [Output(f"o{index}", "FP32") for index in range(drawn(st.integers(0, 3)))]
        blocks.append(Block(Kind.MODEL, f"n{number}", "", tuple(edges), tuple(gives)))
    return Diagram(tuple(blocks))


def origin(lines: list[str], number: int) -> str:
    """Follow the line of an edge back to where it begins: the output there, as `block.output`."""
    corner = re.search("[├╰]", lines[number])
    if corner is None:
        return "None"
    while lines[number][corner.start()] != "╭":
        number -= 1
        assert lines[number][corner.start()] in "│├┼╭"
    output = re.search(r"[┤┴]─? +(o\d)", lines[number])
    head = next(found for line in reversed(lines[:number]) if (found := re.search(r"┌─ (n\d)", line)))
    assert output is not None
    return f"{head[1]}.{output[1]}"


@given(diagrams())
def test_lines_lead_from_outputs_to_those_that_take_them(diagram: Diagram) -> None:
    """Whoever follows an edge back from its arrow comes to the output that its label names."""
    lines = draw(diagram, 120, {})
    edges = [(number, line.split("▸│  ")[1].split()[0]) for number, line in enumerate(lines) if "▸│" in line]
    assert sum(len(block.takes) for block in diagram.blocks) == len(edges)
    assert [label for _, label in edges] == [origin(lines, number) for number, _ in edges]
