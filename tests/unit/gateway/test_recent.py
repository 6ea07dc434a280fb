"""Ids seen lately."""

from __future__ import annotations

from services.gateway.recent import RecentIds


def test_an_id_is_new_once() -> None:
    """It is new the first time, and not the next."""
    recent = RecentIds()
    assert [True, False, True, False] == [recent.add(name) for name in ("a", "a", "b", "a")]


def test_memory_is_bounded() -> None:
    """At least the last ids are known, and never more than twice as many."""
    recent = RecentIds(least=10)
    for number in range(1000):
        assert recent.add(f"{number}")
        assert not any(recent.add(f"{seen}") for seen in range(max(0, number - 9), number + 1))
        assert len(recent._now) + len(recent._before) <= 20
    assert recent.add("0")
