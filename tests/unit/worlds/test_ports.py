"""Ports of tests that several processes run at once."""

from __future__ import annotations

import pytest

from tests.worlds.ports import RANGE, port_row

WORKERS = 500
EACH = len(RANGE) // WORKERS


def test_processes_of_a_run_are_given_different_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a part of the range for itself, and so has one that replaces another."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(WORKERS))
    for worker in (0, 1, WORKERS - 1, WORKERS + 1):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{worker}")
        first = RANGE.start + worker % WORKERS * EACH
        rows = {port_row(3) for _ in range(20)}
        assert all(first <= row and row + 3 <= first + EACH for row in rows)


def test_one_process_has_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no others run tests."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    assert port_row(EACH + 1) in RANGE
