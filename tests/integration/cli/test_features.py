"""Feature values from the command line: written from files, read back, refused as a whole where a column is wrong."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.integration.cli.conftest import World
from tests.support.commands import run, succeed

KEY = ("--entity", "tail=W1", "--entity", "slot=3")


def get(world: World) -> list[tuple[object, ...]]:
    """Return field, value and origin of what is stored for the key."""
    values = json.loads(succeed("features", "get", "plane", *KEY, "--json", *world.at))
    return [(value["field"], value["value"], value["origin"]) for value in values]


def parquet(world: World, late: float, moment: int) -> object:
    """Write a file with one row of the key."""
    path = world.files / "rows.parquet"
    columns = {"tail": ["W1"], "slot": [3], "late": [late], "pair": [[1.0, 2.0]], "event_time": [moment]}
    pa.parquet.write_table(pa.table(columns), path)
    return path


def test_write_and_get(world: World) -> None:
    """What is written is read back, and of two the later event stays, whichever comes last."""
    assert [("late", 0.5, "default"), ("pair", [1, 1], "default")] == get(world)
    for late, moment, told in ((2.0, 2_000_000, "1 rows written"), (1.0, 1_000_000, "1 left alone")):
        assert told in succeed("features", "write", "plane", "--file", parquet(world, late, moment), *world.at)
    assert [("late", 2, "store"), ("pair", [1, 2], "store")] == get(world)
    now = ("--event-time", "now")
    columns = pa.parquet.read_table(world.files / "rows.parquet").drop_columns(["event_time"])
    pa.parquet.write_table(columns, world.files / "now.parquet")
    succeed("features", "write", "plane", "--file", world.files / "now.parquet", *now, *world.at)
    assert ("late", 1, "store") == get(world)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tail,slot,late\n", "missing: pair, event_time"),
        ("tail,slot,late,pair,event_time\n", "CSV cannot hold the lists of pair (use Parquet)"),
    ],
)
def test_wrong_file(world: World, text: str, message: str) -> None:
    """A wrong column is named, exit code 2, and nothing is written."""
    outcome = run("features", "write", "plane", "--file", world.file("wrong.csv", text), *world.at)
    assert (2, "", 1) == (outcome.code, outcome.out, outcome.err.count("\n"))
    assert message in outcome.err


def test_key_of_another_view(world: World) -> None:
    """A key column that the view does not have is named with those that it has."""
    outcome = run("features", "get", "plane", *KEY, "--entity", "planet=mars", *world.at)
    assert (2, "") == (outcome.code, outcome.out)
    assert "view plane has no key column 'planet'; it has tail, slot [UNKNOWN_ENTITY]" in outcome.err


def test_rejected_rows(world: World) -> None:
    """Rows that the service refuses are told by their number; the others are written; exit code 2."""
    path = world.files / "long.parquet"
    columns = {
        "tail": ["W9", "x" * 300],
        "slot": [3, 3],
        "late": [1.0, 1.0],
        "pair": [[1.0, 2.0]] * 2,
        "event_time": [1, 1],
    }
    pa.parquet.write_table(pa.table(columns), path)
    outcome = run("features", "write", "plane", "--file", path, *world.at)
    assert 2 == outcome.code
    assert "1 rows written" in outcome.out
    assert "row 2: " in outcome.err
    assert "[KEY_TOO_LONG]" in outcome.err
    assert "1 of 2 rows rejected" in outcome.err


def test_views(world: World) -> None:
    """Views are listed, and one is shown as the document that defined it."""
    assert ["plane", "plane", "tail,", "slot", "2", "serve"] == succeed("features", "views", *world.at).splitlines()[
        1
    ].split()
    shown = succeed("features", "views", "plane", *world.at)
    assert "- {name: late, type: FP32, default: 0.5}" in shown


@pytest.mark.parametrize("arguments", [("get", "none", *KEY), ("views", "none"), ("write", "none", "--file", "x.csv")])
def test_unknown_view(world: World, arguments: tuple[str, ...]) -> None:
    """A view that does not exist is a mistake with the way to find those that do."""
    outcome = run("features", *arguments, *world.at)
    assert 2 == outcome.code
    assert "no feature view 'none' [UNKNOWN_VIEW] (`predictmesh features views` lists them)" in outcome.err
