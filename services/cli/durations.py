"""Lengths of time as people write them: `250ms`, `1s`, `7d`."""

from __future__ import annotations

import re

_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
# A hundred years: what is longer is a mistake, and in the end no number that services take.
_LONGEST_DAYS = 36_500
_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)")


def parse_us(text: str) -> int:
    """Return microseconds. ValueError with the reason if `text` is no duration, or longer than a hundred years."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: a number and us, ms, s, m, h or d, e.g. 250ms or 7d")
    microseconds = float(match[1]) * _UNITS_US[match[2]]
    if microseconds > _LONGEST_DAYS * _UNITS_US["d"]:
        raise ValueError(f"{text!r} is longer than {_LONGEST_DAYS}d")
    return round(microseconds)


def parse_ms(text: str) -> int:
    """Return milliseconds. ValueError with the reason if `text` is no duration or no whole number of them."""
    microseconds = parse_us(text)
    if microseconds % 1_000:
        raise ValueError(f"{text!r} is finer than a millisecond")
    return microseconds // 1_000


def parse_positive_ms(text: str) -> int:
    """Return milliseconds, at least one; ValueError as `parse_ms`."""
    milliseconds = parse_ms(text)
    if not milliseconds:
        raise ValueError(f"{text!r} must be longer than nothing")
    return milliseconds


def exact(milliseconds: int) -> str:
    """Return the text that `parse_ms` reads as exactly `milliseconds`, in the largest unit that fits."""
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(milliseconds, _UNITS_US[unit] // 1_000)
        if count and not rest:
            return f"{count}{unit}"
    return f"{milliseconds}ms"


def rounded(microseconds: float) -> str:
    """Return a length of time for people to read, to three digits."""
    size = abs(microseconds)
    if size < 1_000:
        return f"{microseconds:.0f} us"
    unit = "ms" if size < 1_000_000 else "d"
    for finer, coarser in (("s", "m"), ("m", "h"), ("h", "d")):
        # Two of a unit are needed to speak in it: 90 s, not 1.5 m.
        if unit == "d" and size < 2 * _UNITS_US[coarser]:
            unit = finer
    count = microseconds / _UNITS_US[unit]
    return f"{count:.0f} {unit}" if abs(count) >= 100 else f"{count:.3g} {unit}"
