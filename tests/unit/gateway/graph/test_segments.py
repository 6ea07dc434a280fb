"""Nodes of a cascade's graph by the rows that they are asked about."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.graph.segments import segments_of

# Nodes by what they take from: `dear` from `clean`, the cascade `sure` from both of its stages.
STAGES = {"cheap": (), "clean": (), "dear": ("clean",), "sure": ("cheap", "dear")}
TWO = [["cheap"], ["dear"]]


def test_one_segment_without_a_cascade() -> None:
    """All nodes are asked about all rows."""
    assert {"a": 0, "b": 0} == segments_of({"a": (), "b": ("a",)}, ["b"], None, [])


def test_what_a_later_stage_needs_waits_for_it() -> None:
    """Not only the stage, but also what nobody else takes from; the cascade comes last."""
    assert {"cheap": 0, "clean": 1, "dear": 1, "sure": 2} == segments_of(STAGES, ["sure"], "sure", TWO)


def test_what_takes_from_the_cascade_comes_last() -> None:
    """At any distance; what else it takes from is asked about all rows at once, not after the cascade."""
    takes = STAGES | {"other": (), "next": ("sure", "other"), "last": ("next",)}
    found = segments_of(takes, ["last"], "sure", TWO)
    assert {"other": 0, "next": 2, "last": 2} == {name: found[name] for name in ("other", "next", "last")}


def test_what_is_needed_elsewhere_is_asked_about_all_rows() -> None:
    """A node that an output is of, or that something behind the cascade takes from, cannot wait for rows to be unsure."""
    assert {"cheap": 0, "clean": 0, "dear": 1, "sure": 2} == segments_of(STAGES, ["sure", "clean"], "sure", TWO)
    behind = segments_of(STAGES | {"next": ("sure", "clean")}, ["next"], "sure", TWO)
    assert 0 == behind["clean"]


def test_what_several_stages_need_is_there_for_the_first_of_them() -> None:
    """Its rows are all that later ones are asked about; what only the last needs waits for the last."""
    takes = {"first": (), "clean": (), "tidy": (), "second": ("clean",), "third": ("clean", "tidy")}
    takes["sure"] = ("first", "second", "third")
    found = segments_of(takes, ["sure"], "sure", [["first"], ["second"], ["third"]])
    assert {"first": 0, "clean": 1, "second": 1, "tidy": 2, "third": 2, "sure": 3} == found


def test_confidence_is_there_with_its_stage() -> None:
    """Also that of a node which is nobody's stage."""
    takes = {"first": (), "judge": (), "second": (), "doubt": ("second",), "third": ()}
    takes["sure"] = ("first", "judge", "second", "doubt", "third")
    found = segments_of(takes, ["sure"], "sure", [["first", "judge"], ["second", "doubt"], ["third"]])
    assert {"first": 0, "judge": 0, "second": 1, "doubt": 1, "third": 2, "sure": 3} == found


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, tuple[str, ...]], list[str], list[list[str]]]:
    """Nodes of which some are stages of one cascade, what takes from what, and the outputs; none is without use."""
    count = draw(st.integers(2, 8))
    before = [f"n{number}" for number in range(count)]
    takes = {name: draw(_some(before[:place])) for place, name in enumerate(before)}
    stages = draw(st.lists(st.sampled_from(before), min_size=2, max_size=count, unique=True))
    takes["cascade"] = tuple(stages)
    for number in range(draw(st.integers(0, 3))):
        takes[f"m{number}"] = draw(_some(list(takes)))
    outputs = draw(st.lists(st.sampled_from(list(takes)), max_size=3))
    unused = takes.keys() - {other for taken in takes.values() for other in taken}
    return takes, [*outputs, *sorted(unused)], [[stage] for stage in stages]


def _some(names: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(names), max_size=2, unique=True).map(tuple) if names else st.just(())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_whatever_is_taken_from_is_there(
    graph: tuple[dict[str, tuple[str, ...]], list[str], list[list[str]]],
) -> None:
    """No node takes from a later segment, no stage waits for the next, and what an output is of is there for all rows."""
    takes, outputs, stages = graph
    found = segments_of(takes, outputs, "cascade", stages)
    last = len(stages)
    assert all(found[other] <= found[name] for name, taken in takes.items() for other in taken)
    assert all(found[name] <= number for number, roots in enumerate(stages) for name in roots)
    everywhere = {name for name in takes if found[name] == last} - {"cascade"} | set(outputs)
    assert all(found[name] in {0, last} for name in everywhere)
    assert all(found[other] in {0, last} for name in everywhere - {"cascade"} for other in takes[name])
