"""Outcomes are read line by line: a line that says none is told, and the others stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.cli.errors import Mistake
from services.cli.outcomes.files import read_outcomes


def csv(tmp_path: Path, text: str) -> Path:
    """Write a CSV file."""
    path = tmp_path / "outcomes.csv"
    path.write_text(text)
    return path


def test_csv(tmp_path: Path) -> None:
    """Columns come in any order, a row and a time may be absent, and empty lines are nothing."""
    text = '﻿label,prediction_id,time,row\n1,"a,b",2013-10-01T12:00:00Z,3\n\n-2.5,c,,\n'
    first, second = read_outcomes(csv(tmp_path, text))
    assert first.request is not None
    assert second.request is not None
    assert (2, "a,b", 3, 1.0, 1_380_628_800) == (
        first.number,
        first.request.prediction_id,
        first.request.row,
        first.request.label,
        first.request.time.seconds,
    )
    assert (4, "c", 0, -2.5, False) == (
        second.number,
        second.request.prediction_id,
        second.request.row,
        second.request.label,
        second.request.HasField("time"),
    )


def test_json_lines(tmp_path: Path) -> None:
    """An object a line, with values as JSON has them or as text; true is 1."""
    path = tmp_path / "outcomes.jsonl"
    lines = [{"prediction_id": "a", "label": True}, {"prediction_id": "b", "label": "0", "row": "2", "time": None}]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    found = [line.request for line in read_outcomes(path)]
    assert [("a", 0, 1.0), ("b", 2, 0.0)] == [(each.prediction_id, each.row, each.label) for each in found if each]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ("a,0,", "label is missing"),
        (",0,1", "prediction_id is missing"),
        (",0,", "prediction_id and label is missing"),
        ("a,0,late", "label 'late' is no number"),
        ("a,-1,1", "row '-1' is no number from 0"),
        ("a,4294967296,1", "row '4294967296' is no number from 0"),
        ("a,1.5,1", "row '1.5' is no number from 0"),
        ("a,0", "2 values stand under 3 columns"),
        ("a,0,1,2", "4 values stand under 3 columns"),
    ],
)
def test_a_bad_line_is_told(tmp_path: Path, values: str, why: str) -> None:
    """The others are outcomes."""
    lines = list(read_outcomes(csv(tmp_path, f"prediction_id,row,label\nx,0,1\n{values}\ny,0,1\n")))
    assert [2, 3, 4] == [line.number for line in lines]
    assert [True, False, True] == [line.request is not None for line in lines]
    assert why == lines[1].fault


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "it is no JSON"),
        ("[1]", "it is no JSON object"),
        ('{"prediction_id": "a", "label": 1, "lable": 2}', "lable is none of prediction_id, row, label, time"),
        ('{"prediction_id": 5, "label": 1}', "prediction_id 5 is no text"),
        ('{"prediction_id": "a", "label": [1]}', "label [1] is no number"),
        ('{"prediction_id": "a", "label": 1, "row": true}', "row True is no number from 0"),
        ('{"prediction_id": "a", "label": 1, "row": 1.0}', "row 1.0 is no number from 0"),
        ('{"prediction_id": "a", "label": 1, "time": 5}', "time 5 is no RFC 3339 time, e.g. 2013-10-01T12:00:00Z"),
        ('{"prediction_id": "a", "label": 1, "time": "noon"}', "time 'noon' is no RFC 3339 time"),
    ],
)
def test_a_bad_object_is_told(tmp_path: Path, text: str, why: str) -> None:
    """With what is wrong with it."""
    path = tmp_path / "outcomes.jsonl"
    path.write_text(text)
    (line,) = read_outcomes(path)
    assert line.request is None
    assert line.fault.startswith(why)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("prediction_id,row", "missing: label"),
        ("", "missing: prediction_id, label"),
        ("prediction_id,label,endpoint", "unknown: endpoint"),
        ("prediction_id,label,label", "twice: label"),
    ],
)
def test_a_wrong_header_is_a_mistake(tmp_path: Path, header: str, why: str) -> None:
    """Nothing is read then."""
    with pytest.raises(Mistake, match=why):
        list(read_outcomes(csv(tmp_path, f"{header}\na,1,1\n")))


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    """It is not there, or no text."""
    with pytest.raises(Mistake, match="No such file"):
        list(read_outcomes(tmp_path / "none.csv"))
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Mistake, match="cannot read"):
        list(read_outcomes(tmp_path / "bytes.csv"))
