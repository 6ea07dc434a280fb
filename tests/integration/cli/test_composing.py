"""Composed versions and fallback ladders from the command line: registered, shown as written, and held."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.integration.cli.conftest import World
from tests.support.commands import run, succeed

COMPOSED = """\
kind: Version
model: delay
version: 6.0.0
graph:
  nodes:
    one: {model: delay@1.0.0}
    two: {model: delay@2.0.0, optional: true, defaults: {y: [0.25]}}
    both: {ensemble: weighted_mean, of: {one.y: 0.5, two.y: 0.5}}
  outputs: {y: both.y}
metrics: {auc: 0.7}
"""
LADDER = """\
kind: Endpoint
name: composed
model: delay
route: {version: 6.0.0}
fallbacks:
- {version: 1.0.0}
- {last_answer: 10m}
- {answer: {y: [0.1]}}
"""


@pytest.fixture
def composed(world: World) -> Iterator[str]:
    """Register the composed version; return what was said. It goes in the end, and the endpoint with it."""
    file = world.file("6.0.0.yaml", COMPOSED)
    yield succeed("models", "register", "-f", file, "--wait", "30s", *world.at)
    if "composed" in succeed("endpoints", "--json", *world.at):
        succeed("endpoints", "delete", "composed", "--yes", *world.at)
    succeed("models", "delete", "delay", "6.0.0", "--yes", *world.at)


def test_it_is_registered_without_artifacts(world: World, composed: str) -> None:
    """Who waits is told where the versions stand that it is made of; the same file again is the same version."""
    first, *standings = composed.splitlines()
    assert first.startswith("delay 6.0.0 registered; digest ")
    assert ["delay 1.0.0 ready on onnx", "delay 2.0.0 ready on onnx"] == [
        each.partition(" after")[0] for each in standings
    ]
    again = succeed("models", "register", "-f", world.file("again.yaml", COMPOSED), *world.at)
    assert again.startswith("delay 6.0.0 was registered before")


@pytest.mark.usefixtures("composed")
def test_it_is_shown_as_it_was_written(world: World) -> None:
    """The version as its document, the model with what it is made of and where that is loaded."""
    shown = succeed("models", "show", "delay", "6.0.0", *world.at)
    assert yaml.safe_load(COMPOSED) == yaml.safe_load(shown)
    listed = succeed("models", "show", "delay", *world.at)
    (row,) = (line for line in listed.splitlines() if line.startswith("6.0.0"))
    assert "one onnx ready on 1, two onnx ready on 1" in row
    assert "delay@1.0.0, delay@2.0.0" in row


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("delay@2.0.0", "delay@9.0.0", "graph.nodes.two.model: "),
        ("defaults: {y: [0.25]}", "defaults: {y: [0.25, 1]}", "graph.nodes.two.defaults.y: "),
        ("one.y: 0.5", "one.z: 0.5", "graph.nodes.both.of.one.z: "),
        ("one.y: 0.5", "one.y: -1", "graph.nodes.both.of.one.y: "),
        ("y: both.y", "y: bath.y", "graph.outputs.y: "),
    ],
)
def test_faults_of_a_graph(world: World, right: str, wrong: str, place: str) -> None:
    """They are told by the names of nodes and outputs in the file, and nothing is registered."""
    file = world.file("bad.yaml", COMPOSED.replace(right, wrong))
    outcome = run("models", "register", "-f", file, *world.at)
    assert (2, "", 1) == (outcome.code, outcome.out, outcome.err.count("\n"))
    assert f"{file}, {place}" in outcome.err
    assert 2 == run("models", "show", "delay", "6.0.0", *world.at).code


@pytest.mark.usefixtures("composed")
def test_a_ladder_is_shown_as_it_was_written(world: World) -> None:
    """Applied again it is the same, and a change is told field by field."""
    file = world.file("ladder.yaml", LADDER)
    succeed("apply", "-f", file, *world.at)
    assert "1 unchanged" in succeed("apply", "-f", file, *world.at)
    shown = succeed("endpoints", "show", "composed", "--yaml", *world.at)
    assert yaml.safe_load(LADDER) == yaml.safe_load(shown)
    called = succeed("endpoints", "show", "composed", *world.at)
    assert "version 1.0.0, then last_answer, then answer" in called
    changed = world.file("changed.yaml", LADDER.replace("0.1", "0.3").replace("10m", "1h"))
    assert [
        "~ Endpoint composed",
        "    ~ fallbacks[1].last_answer_max_age_ms: 600000 -> 3600000",
        "    ~ fallbacks[2].answer.outputs[0].floats[0]: 0.1 -> 0.3",
    ] == succeed("apply", "-f", changed, "--dry-run", *world.at).splitlines()[:-1]


@pytest.mark.usefixtures("composed")
@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("{version: 1.0.0}", "{version: 9.0.0}", "fallbacks[0].version: there is no delay@9.0.0"),
        ("{version: 1.0.0}", "{version: 6.0.0}", "fallbacks[0].version: 6.0.0 answers already"),
        ("10m", "8d", "fallbacks[1].last_answer: "),
        ("{y: [0.1]}", "{z: [0.1]}", "fallbacks[2].answer.z: there is no output 'z'"),
        ("{y: [0.1]}", "{y: [0.1, 0.2]}", "fallbacks[2].answer.y: has 2 values"),
        ("{y: [0.1]}", "{y: [late]}", "fallbacks[2].answer.y: output y takes finite values of FP32"),
    ],
)
def test_faults_of_a_ladder(world: World, right: str, wrong: str, place: str) -> None:
    """They are told where they stand in the file."""
    file = world.file("bad.yaml", LADDER.replace(right, wrong))
    outcome = run("apply", "-f", file, *world.at)
    assert (2, "", 1) == (outcome.code, outcome.out, outcome.err.count("\n"))
    assert f"{file}, document 1, {place}" in outcome.err


@pytest.mark.usefixtures("composed")
def test_what_a_ladder_names_stays(world: World) -> None:
    """A version that is a step, or a node, is not deleted."""
    succeed("apply", "-f", world.file("ladder.yaml", LADDER), *world.at)
    outcome = run("models", "delete", "delay", "1.0.0", "--yes", *world.at)
    assert (2, True) == (outcome.code, "[IN_USE]" in outcome.err)
    assert "the fallbacks of endpoint composed" in outcome.err
    assert "node one of delay@6.0.0" in outcome.err


@pytest.mark.usefixtures("composed")
def test_it_answers(world: World) -> None:
    """As any version does: here the mean of the sum and twice the sum."""
    succeed("apply", "-f", world.file("ladder.yaml", LADDER), *world.at)
    options = ("--entity", "tail=N 1", "--entity", "slot=7", "--feature", "distance=7.5")
    answered = json.loads(succeed("predict", "composed", *options, "--json", *world.at))
    assert [15.0] == [value for tensor in answered["outputs"] for value in tensor["floats"]]
