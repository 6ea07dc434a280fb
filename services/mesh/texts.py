"""Texts of which others chose the length."""

from __future__ import annotations


def cut(text: str, max_bytes: int) -> str:
    """Return `text`, or as much of it as fits into so many bytes of UTF-8, with dots after it; what UTF-8 lacks is `?`."""
    data = text.encode(errors="replace")
    return data[:max_bytes].decode(errors="ignore") + ("..." if len(data) > max_bytes else "")
