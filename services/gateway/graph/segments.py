"""Which rows a composed version's nodes are asked about: as few as what takes from them lets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def segments_of(
    takes: Mapping[str, Sequence[str]], outputs: Iterable[str], cascade: str | None, stages: Sequence[Sequence[str]]
) -> dict[str, int]:
    """Return the segment of each node, as Graph has them, for nodes by what they take from, in an order without cycles.

    `outputs` are the nodes that the composed version's outputs are of, `stages` those that each stage of the `cascade`
    takes: its node, and that of its confidence. The cascade itself is in the last segment, with what takes from it.
    """
    if cascade is None:
        return dict.fromkeys(takes, 0)
    behind = _behind(takes, cascade)
    everywhere = _needed([*outputs, *behind], takes, cascade)
    by_stage = [_needed(roots, takes, cascade) for roots in stages]
    segments = dict.fromkeys(takes, 0)
    for name in takes:
        if name in behind:
            segments[name] = len(stages)
        elif name not in everywhere:
            segments[name] = next((number for number, needed in enumerate(by_stage) if name in needed), 0)
    return segments


def _behind(takes: Mapping[str, Sequence[str]], cascade: str) -> set[str]:
    """Return the cascade, and what takes from it."""
    found = {cascade}
    for name, taken in takes.items():
        if not found.isdisjoint(taken):
            found.add(name)
    return found


def _needed(roots: Iterable[str], takes: Mapping[str, Sequence[str]], cascade: str) -> set[str]:
    """Return the roots with what they take from, but for what they need of a cascade's stages."""
    found: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += () if name == cascade else takes[name]
    return found
