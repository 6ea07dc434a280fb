"""A trace as lines of text: a tree of spans, each with a bar where its time lies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from services.cli import durations
from services.cli.traces.spans import Event, Span

_COLORS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green")
_SHORTEST_BAR = 20


@dataclass(frozen=True)
class Line:
    """A span at its place in the tree; `carried` if it belongs to another trace that carried the request."""

    span: Span
    depth: int
    carried: bool

    @property
    def label(self) -> str:
        """Return the service and the name, without what all have in common, indented by depth."""
        mark = "⇢ " if self.carried else ""
        service = self.span.service.removeprefix("predictmesh-")
        return f"{'  ' * self.depth}{mark}{service} {_short(self.span.name)}"

    @property
    def remark(self) -> str:
        """Return what is to be said beside the duration."""
        remarks = [f"✗ {self.span.error}"] if self.span.error else []
        if len(self.span.links) > 1:
            remarks.append(f"batch of {len(self.span.links)}")
        return "  ".join([*remarks, *_path(self.span.attributes), *_happened(self.span.events)])


def _short(name: str) -> str:
    """Return the name of a call without its package, which says no more than its service; any other name as it is."""
    service, slash, method = name.partition("/")
    return f"{service.rpartition('.')[2]}/{method}" if slash else name


def _path(attributes: Mapping[str, str]) -> Iterator[str]:
    """Yield what a node that was not asked, or a step of a fallback ladder, says of the path that rows took."""
    if "state" in attributes:
        yield f"{attributes['state']}: {attributes.get('cause', '?')} was sure"
    if "answered_rows" in attributes:
        reason = attributes.get("error.type")
        yield f"{attributes['answered_rows']} of {attributes.get('rows', '?')} rows" + (f", {reason}" if reason else "")


def _happened(events: Sequence[Event]) -> Iterator[str]:
    """Yield what happened during a span, but for its error: each kind once, with all that is told of it."""
    told: dict[str, list[str]] = {}
    for event in events:
        if event.name != "exception":
            told.setdefault(event.name, []).append(_detail(event.attributes))
    for name, details in told.items():
        yield f"{name}: {', '.join(details)}" if any(details) else name


def _detail(attributes: Mapping[str, str]) -> str:
    """Return how long a hop took, or why something happened, and with what."""
    if "duration_us" in attributes:
        return durations.rounded(float(attributes["duration_us"]))
    subject = next((attributes[key] for key in ("subject", "runtime", "replica") if key in attributes), "")
    return f"{attributes.get('reason', '')} {subject}".strip()


def arrange(spans: Sequence[Span], trace_id: str) -> list[Line]:
    """Return the spans depth first, siblings by start; each once, also where a parent is missing or a cycle."""
    known = {span.span_id for span in spans}
    children: defaultdict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_ns):
        parent = _place(span, known, trace_id)
        children[parent if parent in known and parent != span.span_id else ""].append(span)
    lines = list(_walk(children, "", 0, trace_id))
    seen = {line.span.span_id for line in lines}
    # What a cycle hides is still shown, at the margin.
    return lines + [Line(span, 0, span.trace_id != trace_id) for span in spans if span.span_id not in seen]


def _place(span: Span, known: set[str], trace_id: str) -> str:
    """Return the id of the span to show `span` under: its parent, or of a batch the request that it carries."""
    if span.trace_id == trace_id or span.parent_id in known:
        return span.parent_id
    return next((linked for trace, linked in span.links if trace == trace_id), "")


def _walk(children: dict[str, list[Span]], parent: str, depth: int, trace_id: str) -> Iterator[Line]:
    for span in children.get(parent, ()):
        yield Line(span, depth, span.trace_id != trace_id)
        yield from _walk(children, span.span_id, depth + 1, trace_id)


def draw(spans: Sequence[Span], trace_id: str, width: int) -> list[str]:
    """Return the lines that show a trace in `width` columns. Bars share one scale, which runs over the whole trace."""
    lines = arrange(spans, trace_id)
    if not lines:
        return []
    start, end = min(span.start_ns for span in spans), max(span.end_ns for span in spans)
    services = sorted({span.service for span in spans})
    label_width = max(len(line.label) for line in lines)
    bar_width = max(width - label_width - 12, _SHORTEST_BAR)
    return [_draw(line, start, max(end - start, 1), label_width, bar_width, services) for line in lines]


def _draw(line: Line, start: int, length: int, label_width: int, bar_width: int, services: Sequence[str]) -> str:
    span = line.span
    left = round((span.start_ns - start) / length * (bar_width - 1))
    size = max(round((span.end_ns - span.start_ns) / length * bar_width), 1)
    size = min(size, bar_width - left)
    color = "red" if span.error else _COLORS[services.index(span.service) % len(_COLORS)]
    bar = " " * left + click.style("█" * size, fg=color) + " " * (bar_width - left - size)
    time = durations.rounded((span.end_ns - span.start_ns) / 1_000)
    remark = f"  {click.style(line.remark, fg='red' if span.error else None)}" if line.remark else ""
    return f"{line.label.ljust(label_width)} {bar} {time:>8}{remark}"
