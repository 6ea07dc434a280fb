"""Selectors as the registry and the gateway read them."""

from __future__ import annotations

import pytest

from services.mesh.selectors import is_range, newest_in, ranges_of, resolve

VERSIONS = ["1.0.0", "1.2.9", "1.2.10", "1.10.0", "2.0.0"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.x", True),
        ("0.12.x", True),
        ("1", False),
        ("x", False),
        ("1.2.3.x", False),
        ("01.x", False),
        ("1.2.3", False),
        ("v.x", False),
        ("1x", False),
        (" 1.x", False),
    ],
)
def test_ranges(text: str, expected: bool) -> None:
    """A major version, or a major and a minor one, and an x."""
    assert expected is is_range(text)


@pytest.mark.parametrize(
    ("range_", "newest"), [("1.x", "1.10.0"), ("1.2.x", "1.2.10"), ("2.x", "2.0.0"), ("3.x", None)]
)
def test_newest(range_: str, newest: str | None) -> None:
    """By numbers, not by text."""
    assert newest == newest_in(range_, VERSIONS)


@pytest.mark.parametrize(
    ("selector", "version"),
    [
        ("1.0.0", "1.0.0"),
        ("live", "1.2.9"),
        ("gone", None),
        ("nobody", None),
        ("9.9.9", None),
        ("1.x", "1.2.10"),
        ("2.x", None),
    ],
)
def test_resolving(selector: str, version: str | None) -> None:
    """A version or an alias leads to any version that there is, a range to released ones alone."""
    aliases = {"live": "1.2.9", "gone": "0.0.1"}
    assert version == resolve(selector, VERSIONS, aliases, ["1.0.0", "1.2.10", "2.1.0"])


@pytest.mark.parametrize("version", VERSIONS)
def test_ranges_of_a_version(version: str) -> None:
    """They are ranges, and lead to it where it is alone."""
    for range_ in ranges_of(version):
        assert is_range(range_)
        assert version == newest_in(range_, [version])
