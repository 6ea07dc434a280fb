"""What was seen lately."""

from __future__ import annotations

from services.gateway.recent import Recent


def test_a_thing_is_new_once() -> None:
    """It is new the first time, and not the next."""
    recent = Recent()
    assert [True, False, True, False] == [recent.add(name) for name in ("a", "a", "b", "a")]


def test_memory_is_bounded() -> None:
    """At least the last are known, and never more than twice as many."""
    recent = Recent(least=10)
    for number in range(1000):
        assert recent.add(f"{number}")
        assert not any(recent.add(f"{seen}") for seen in range(max(0, number - 9), number + 1))
        assert len(recent._now) + len(recent._before) <= 20
    assert recent.add("0")
