"""Predictions from the command line: rows, overrides, versions, explanations and traces."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.integration.cli.conftest import World
from tests.support.commands import run, succeed

ROW = ("--entity", "tail=N1", "--entity", "slot=1", "--feature", "distance=10")


def outputs(text: str) -> list[float]:
    """Return the values of a JSON answer."""
    return list(json.loads(text)["outputs"][0]["floats"])


def test_one_row(world: World) -> None:
    """Keys and features become typed by what the endpoint says, and the answer says how it was made."""
    text = succeed("predict", "delay", *ROW, *world.at)
    assert [["row", "tail", "slot", "y"], ["0", "N1", "1", "12.5"]] == [line.split() for line in text.splitlines()[:2]]
    assert "delay 1.0.0 (endpoint version) on onnx" in text
    assert "nothing stored, defaults taken: plane" in text


def test_several_rows(world: World) -> None:
    """An option that is repeated makes rows."""
    rows = ("--entity", "tail=N2", "--entity", "slot=2", "--feature", "distance=20")
    assert [12.5, 22.5] == outputs(succeed("predict", "delay", *ROW, *rows, "--json", *world.at))


@pytest.mark.parametrize(
    ("options", "value"),
    [
        (("--version", "2.0.0"), 25),
        (("--feature", "plane:late=3"), 15),
        (("--feature", "plane:pair=[5, 6]"), 21.5),
        (("--as-of", "2013-10-01T12:00:00Z", "--timeout", "5s"), 12.5),
    ],
)
def test_options(world: World, options: tuple[str, ...], value: float) -> None:
    """Version, overridden values and moment reach the gateway."""
    assert [value] == outputs(succeed("predict", "delay", *ROW, *options, "--json", *world.at))


def test_command_to_paste(world: World) -> None:
    """`endpoints NAME` shows a command that works as it stands."""
    text = succeed("endpoints", "delay", *world.at)
    pasted = shlex.split(re.search(r"try +predictmesh (.*)", text)[1])  # type: ignore[index]
    assert [12.5] == outputs(succeed(*pasted, "--json", *world.at))
    assert "tail=N 1" in pasted


def test_list_of_endpoints(world: World) -> None:
    """`endpoints` lists what can be asked."""
    assert ["delay", "delay", "1.0.0", "tail,", "slot"] == succeed("endpoints", *world.at).splitlines()[1].split()
    assert ["delay"] == [endpoint["name"] for endpoint in json.loads(succeed("endpoints", "--json", *world.at))]


def test_explain(world: World) -> None:
    """Every input of the model is shown with its value and origin, and the prediction with it."""
    answer = json.loads(succeed("explain", "delay", *ROW, "--json", *world.at))
    assert 3 == len(answer["inputs"])
    lines = succeed("explain", "delay", *ROW, *world.at).splitlines()
    assert ["0", "x", "plane:late", "0.5", "default", "absent"] == lines[1].split()
    assert ["0", "x", "plane:pair", "[1.0,", "1.0]", "default", "absent"] == lines[2].split()
    assert ["0", "x", "request:distance", "10", "request"] == lines[3].split()
    assert ["0", "N1", "1", "12.5"] == lines[5].split()


def test_trace(world: World) -> None:
    """`--trace` shows the way through all three services, and `trace` shows it again."""
    text = succeed("predict", "delay", *ROW, "--trace", *world.at)
    drawn = text.split("\n\n")[1]
    for label in (
        "gateway PredictionService/Predict",
        "features FeatureService/GetFeatures",
        "model GRPCInferenceService/ModelInfer",
    ):
        assert label in drawn
    trace_id = re.search(r"trace +(\w{32})", text)[1]  # type: ignore[index]
    assert drawn.splitlines() == succeed("trace", trace_id, *world.at).splitlines()
    assert trace_id in {trace["trace_id"] for trace in json.loads(succeed("trace", "--json", *world.at))}


def test_trace_of_a_failure(world: World) -> None:
    """A request that failed is shown, too, with where it failed."""
    outcome = run("predict", "delay", *ROW, "--version", "9.9.9", "--trace", *world.at)
    assert 2 == outcome.code
    assert "gateway PredictionService/Predict" in outcome.out
    assert "✗" in outcome.out


BAD = [
    (("nope", *ROW), "UNKNOWN_ENDPOINT", "`predictmesh endpoints` lists them"),
    (("delay", *ROW, "--version", "9.9.9"), "UNKNOWN_VERSION", "lists a model's versions"),
    (("delay", *ROW[2:]), "MISSING_KEY", "tail"),
    (("delay", *ROW, "--entity", "wheel=1"), "UNKNOWN_ENTITY", "wheel"),
    (("delay", "--entity", "tail=", *ROW[2:]), "MISSING_KEY", "tail"),
    (("delay", "--entity", f"tail={'x' * 300}", *ROW[2:]), "KEY_TOO_LONG", "256"),
    (("delay", *ROW, "--entity", "tail=N2"), "LENGTH_MISMATCH", "entities"),
    (("delay", *ROW, "--feature", "color=1"), "UNKNOWN_FIELD", "color"),
    (("delay", *ROW, "--feature", "plane:color=1"), "UNKNOWN_FIELD", "color"),
    (("delay", *ROW[:4], "--feature", "distance=nan"), "NON_FINITE_VALUE", "distance"),
    (("delay", *ROW[:4]), "MISSING_FIELD", "distance"),
    (("delay", *ROW, "--feature", "plane:pair=[1, 2, 3]"), "MISMATCH", "pair"),
    (("delay", *[option for row in range(257) for option in ("--entity", f"tail={row}", "--entity", "slot=1")]), "ROWS_OUT_OF_RANGE", "256"),
    (("delay", "--entity", "tail=N1", "--entity", "slot=x"), "", "--entity slot: 'x' is no INT64"),
    (("delay", *ROW[:4], "--feature", "distance=far"), "", "--feature distance: 'far' is no FP32"),
    (("delay", *ROW, "--feature", "plane:pair=1,2"), "", "--feature plane:pair: '1,2' is no JSON list"),
]  # fmt: skip


@pytest.mark.parametrize("command", ["predict", "explain"])
@pytest.mark.parametrize(("arguments", "reason", "text"), BAD)
def test_bad_requests(world: World, command: str, arguments: tuple[str, ...], reason: str, text: str) -> None:
    """A request that cannot be answered ends with exit code 2 and one line with the reason and the field."""
    outcome = run(command, *arguments, *world.at)
    assert (2, "", 1) == (outcome.code, outcome.out, outcome.err.count("\n"))
    assert reason in outcome.err
    assert text in outcome.err


def test_gateway_that_is_another_service(world: World) -> None:
    """The address of another service is a mistake, told with the option that names it."""
    outcome = run("predict", "delay", *ROW, "--gateway", world.up.line["features"], *world.at)
    assert (2, 1) == (outcome.code, outcome.err.count("\n"))
    assert f"{world.up.line['features']} (--gateway) is no gateway [UNKNOWN_METHOD]" in outcome.err


def test_gateway_that_is_not_there(world: World) -> None:
    """A gateway out of reach is no mistake of the request: exit code 1, and what to look at."""
    outcome = run("predict", "delay", *ROW, "--gateway", "127.0.0.1:1", *world.at)
    assert (1, 1) == (outcome.code, outcome.err.count("\n"))
    assert "cannot reach the gateway at 127.0.0.1:1 (--gateway)" in outcome.err
