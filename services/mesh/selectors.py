"""Selectors: how a request, a route or a shadow names a version; understood alike by the registry and the gateway.

A selector is a version (`1.2.0`), a range of released versions (`1.x`, `1.2.x`), or an alias, which begins with a letter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_RANGE = re.compile(r"(0|[1-9]\d{0,8})\.(?:(0|[1-9]\d{0,8})\.)?x")
_VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")


def is_version(text: str) -> bool:
    """Whether the text is MAJOR.MINOR.PATCH."""
    return bool(_VERSION.fullmatch(text))


def is_range(selector: str) -> bool:
    """Whether the selector names a range."""
    return bool(_RANGE.fullmatch(selector))


def resolve(
    selector: str, versions: Collection[str], aliases: Mapping[str, str], released: Collection[str]
) -> str | None:
    """The version that the selector leads to; None if it leads nowhere. A range leads to its newest released version."""
    if is_range(selector):
        return newest_in(selector, [version for version in released if version in versions])
    version = aliases.get(selector, selector)
    return version if version in versions else None


def newest_in(range_: str, versions: Collection[str]) -> str | None:
    """The newest of the versions that the range matches."""
    prefix = range_.removesuffix("x")
    return max((version for version in versions if version.startswith(prefix)), key=_order, default=None)


def ranges_of(version: str) -> tuple[str, str]:
    """The ranges that match the version: `1.x` and `1.2.x` of 1.2.0."""
    major, minor, _ = version.split(".")
    return f"{major}.x", f"{major}.{minor}.x"


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
