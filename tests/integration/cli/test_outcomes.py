"""What came true of predictions, from the command line: one by one, from files, and back as training data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.integration.cli.conftest import World
from tests.support.commands import run, succeed

ENDPOINTS = """\
kind: Endpoint
name: lateness
model: delay
route: {version: 1.0.0}
outcomes: {output: y, kind: regression, capture_percent: 100}
---
kind: Endpoint
name: kept
model: delay
route: {version: 2.0.0}
outcomes: {output: y, kind: regression}
"""


@pytest.fixture(scope="module")
def kept(world: World) -> Iterator[World]:
    """The world with two endpoints whose predictions are kept, one with their features."""
    succeed("apply", "-f", world.file("outcomes.yaml", ENDPOINTS), *world.at)
    yield world
    for name in ("lateness", "kept"):
        succeed("endpoints", "delete", name, "--yes", *world.at)


def predict(world: World, endpoint: str, *distances: float) -> str:
    """Ask for rows whose score is 2.5 (lateness) and the distance, or twice that (kept); return the prediction's name."""
    options = [
        part
        for number, distance in enumerate(distances)
        for part in ("--entity", "tail=N1", "--entity", f"slot={number}", "--feature", f"distance={distance}")
    ]
    return str(json.loads(succeed("predict", endpoint, *options, "--json", *world.at))["prediction_id"])


def quality(world: World, *arguments: object) -> list[dict[str, Any]]:
    """Return what is told of quality."""
    found: list[dict[str, Any]] = json.loads(succeed("quality", *arguments, "--json", *world.at))
    return found


def test_one_outcome(kept: World) -> None:
    """It is recorded once, told so when repeated, and refused with another label; quality follows."""
    name = predict(kept, "kept", 0)
    assert "recorded\n" == succeed("outcomes", "record", name, "-3", *kept.at)
    assert "it had been recorded before\n" == succeed("outcomes", "record", name, "-3", *kept.at)
    outcome = run("outcomes", "record", name, "4", *kept.at)
    assert 2 == outcome.code
    assert "has the label -3 already" in outcome.err
    (found,) = quality(kept, "kept")
    assert ("2.0.0", 8.0) == (found["version"], found["mae"])
    table = succeed("quality", *kept.at).splitlines()
    assert ["endpoint", "version", "from", "to", "outcomes", "of", "rows", "MAE", "RMSE", "bias"] == table[0].split()
    assert ["kept", "2.0.0"] == table[1].split()[:2]


def test_unknown_prediction(kept: World) -> None:
    """It is told what may be the cause."""
    outcome = run("outcomes", "record", "nobody", "1", *kept.at)
    assert (2, "") == (outcome.code, outcome.out)
    assert "it was not sampled" in outcome.err
    assert "[UNKNOWN_PREDICTION]" in outcome.err


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_outcomes_of_a_file(kept: World, ending: str) -> None:
    """What is not recorded is told by its line, exit code 1; the rest is recorded, and a repeat is known."""
    name = predict(kept, "kept", 1, 2, 3)
    rows = [(name, 0, 1.5), (name, 1, 2.5), ("nobody", 0, 1), (name, 7, 1), (name, 1, 9), (name, "x", 1)]
    if ending == "csv":
        text = "prediction_id,row,label\n" + "".join(f"{name},{row},{label}\n" for name, row, label in rows)
    else:
        text = "".join(
            json.dumps(dict(zip(("prediction_id", "row", "label"), row, strict=True))) + "\n" for row in rows
        )
    path = kept.file(f"outcomes.{ending}", text)
    outcome = run("outcomes", "record", "-f", path, *kept.at)
    assert (1, "2 outcomes recorded, 0 had been before\n") == (outcome.code, outcome.out)
    first = 2 if ending == "csv" else 1
    *lines, last = sorted(outcome.err.splitlines())[::-1]
    assert "error: 4 outcomes rejected; the others are recorded" == last
    assert [f"line {first + number}" for number in (2, 3, 4, 5)] == sorted(line.partition(":")[0] for line in lines)
    again = run("outcomes", "record", "-f", path, "--json", *kept.at)
    told = json.loads(again.out)
    assert (1, 0, 2, 4) == (again.code, told["recorded"], told["existed"], told["rejected"])
    assert {first + number for number in (2, 3, 4, 5)} == {each["line"] for each in told["rejections"]}


def test_many_outcomes(kept: World) -> None:
    """More than are sent at a time."""
    name = predict(kept, "kept", *range(200))
    lines = [json.dumps({"prediction_id": name, "row": row % 200, "label": row % 200}) for row in range(1_000)]
    path = kept.file("many.jsonl", "\n".join(lines))
    assert "200 outcomes recorded, 800 had been before\n" == succeed("outcomes", "record", "-f", path, *kept.at)


@pytest.mark.parametrize(
    "arguments", [(), ("name",), ("name", "1", "-f", "x.csv"), ("name", "-f", "x.csv")], ids=" ".join
)
def test_what_to_record_is_said_once(kept: World, arguments: tuple[str, ...]) -> None:
    """Either a prediction and its label, or a file."""
    outcome = run("outcomes", "record", *arguments, *kept.at)
    assert 2 == outcome.code
    assert "PREDICTION_ID and LABEL, or --file" in outcome.err


def test_export(kept: World) -> None:
    """Captured predictions come with each source as the model got it, where it came from, and what came true."""
    name = predict(kept, "lateness", 10, 20)
    succeed("outcomes", "record", name, "12", "--row", "1", "--time", "2013-10-01T12:00:00Z", *kept.at)
    path = kept.files / "lateness.parquet"

    def rows(*options: str) -> int:
        told = json.loads(succeed("outcomes", "export", "lateness", "-o", path, "--json", *options, *kept.at))
        return int(told["rows"])

    assert 2 == rows()
    assert [path] == list(kept.files.glob("lateness.parquet*"))
    table = pa.parquet.read_table(path)
    first, second = table.to_pylist()
    assert (name, 0, 12.5, None, None) == tuple(
        first[column] for column in ("prediction_id", "row", "score", "label", "label_time")
    )
    assert (1, 22.5, 12.0, "delay", "1.0.0") == tuple(
        second[column] for column in ("row", "score", "label", "model", "version")
    )
    assert (0.5, [1.0, 1.0], 20.0) == tuple(
        second[source] for source in ("plane:late", "plane:pair", "request:distance")
    )
    assert ("default_absent", "request") == (second["plane:late#origin"], second["request:distance#origin"])
    assert second["plane#age_s"] is None
    assert pa.float32() == table.schema.field("plane:late").type
    assert run("outcomes", "export", "lateness", "-o", path, "--labelled", *kept.at).code == 2
    succeed("outcomes", "record", name, "11", *kept.at)
    assert 2 == rows("--labelled")


def test_export_of_nothing(kept: World) -> None:
    """An endpoint that captures nothing has nothing to export, and no file is made."""
    predict(kept, "kept", 1)
    path = kept.files / "none.parquet"
    outcome = run("outcomes", "export", "kept", "-o", path, *kept.at)
    assert 2 == outcome.code
    assert "capture_percent" in outcome.err
    assert not path.exists()


def test_export_is_parquet(kept: World) -> None:
    """Whoever names another kind of file would not find it there."""
    outcome = run("outcomes", "export", "lateness", "-o", "x.csv", *kept.at)
    assert outcome.code == 2
    assert "x.parquet" in outcome.err


@pytest.mark.parametrize("arguments", [("quality", "none"), ("outcomes", "export", "none", "-o", "x.parquet")])
def test_unknown_endpoint(kept: World, arguments: tuple[str, ...]) -> None:
    """It is told where to find those that there are."""
    outcome = run(*arguments, *kept.at)
    assert 2 == outcome.code
    assert "[UNKNOWN_ENDPOINT]" in outcome.err


def test_window(kept: World) -> None:
    """Quality is told by the hour."""
    outcome = run("quality", "kept", "--every", "90m", *kept.at)
    assert 2 == outcome.code
    assert "whole hours" in outcome.err
    assert quality(kept, "kept", "--window", "24h", "--every", "1h")
