"""The whole screen of an endpoint, and the same as JSON."""

from __future__ import annotations

import json

import pytest

from services.cli.graphs.answering import Answering, Step
from services.cli.graphs.flow import Flow
from services.cli.graphs.reading import read_diagram
from services.cli.graphs.screen import Drawn, Rung, plain_screen, print_screen
from tests.unit.cli.graphs.samples import models

STILL = """\
departures: 25 % delay 1.0.0 (candidate of release 7)

    ┌─ delay  1.0.0
   ▸│  X            FP32[12]  plane (2, age), tail_lateness (1), request (hour, distance)
╭───┴─ probability  FP32[1]
│
│   ┌─ answer
╰──▸│  probability  FP32[1]
    └─

fallback ladder, for rows that fail:
1. version 2.0.0
2. answer probability 0.2
"""
FLOW = Flow(per_second=12, share=0.25, p50_s=0.004, p99_s=None)
STEPS = [Step("version 2.0.0", "version 2.0.0"), Step("answer probability 0.2", "answer")]


def drawn(calls: Flow | None = None, percent: float = 25) -> Drawn:
    """A plain version, a candidate for a quarter of the callers."""
    found = models()
    version = found["delay"].versions[0]
    diagram = read_diagram("delay", version, found)
    flows = dict.fromkeys(diagram.blocks[-1].takes, FLOW) if calls else {}
    return Drawn(Answering(version, percent, "candidate of release 7"), diagram, calls, flows)


def test_still(capsys: pytest.CaptureFixture[str]) -> None:
    """What answers, its drawing, and the ladder beneath."""
    print_screen("departures", "delay", [drawn()], [Rung(step, None) for step in STEPS])
    assert STILL == capsys.readouterr().out


def test_live(capsys: pytest.CaptureFixture[str]) -> None:
    """Calls stand under the version, rows beside edges and steps."""
    print_screen("departures", "delay", [drawn(FLOW)], [Rung(step, FLOW) for step in STEPS])
    lines = capsys.readouterr().out.splitlines()
    assert "12 calls/s, 25 %, p50 4 ms" == lines[1]
    assert "╰──▸│  probability  FP32[1]   12 rows/s  25 %  p50 4 ms" == lines[8]
    assert "2. answer probability 0.2  12 rows/s  25 %  p50 4 ms" == lines[-1]


def test_no_ladder(capsys: pytest.CaptureFixture[str]) -> None:
    """An endpoint without a ladder says what that means; a version that answers all has no share."""
    print_screen("departures", "delay", [drawn(percent=100)], [])
    lines = capsys.readouterr().out.splitlines()
    assert "departures: delay 1.0.0 (candidate of release 7)" == lines[0]
    assert "no fallback ladder: rows that fail are answered with their error" == lines[-1]


def test_json() -> None:
    """The same for programs, with figures only where they were asked for."""
    live = json.loads(json.dumps(plain_screen("departures", "delay", [drawn(FLOW)], [Rung(STEPS[1], FLOW)])))
    (version,) = live["versions"]
    flow = {"per_second": 12, "share": 0.25, "p50_s": 0.004, "p99_s": None}
    assert ("1.0.0", 25, flow) == (version["version"], version["percent"], version["calls"])
    assert [{"step": "answer probability 0.2", "rows": flow}] == live["fallbacks"]
    model, answer = version["blocks"]
    assert {"source": None, "label": "X", "type": "FP32[12]"}.items() <= model["takes"][0].items()
    assert {"source": "delay.probability", "flow": flow}.items() <= answer["takes"][0].items()
    assert [{"name": "probability", "type": "FP32[1]"}] == model["gives"]
    still = plain_screen("departures", "delay", [drawn()], [Rung(STEPS[1], None)])
    assert "flow" not in json.dumps(still)
    assert "calls" not in json.dumps(still)
