"""The newest traces, in memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable

from services.cli.traces.spans import Span

MAX_TRACES = 1_000
MAX_SPANS = 500
EXPORT_DELAY_MS = 250
"""What the processes of `up` send their spans after, each on its own clock: a person who asked for a trace waits."""
SETTLED_S = EXPORT_DELAY_MS / 1e3 + 0.15


class TraceStore:
    """Keeps the newest traces, each up to a number of spans. Safe for several threads."""

    def __init__(self, max_traces: int = MAX_TRACES, max_spans: int = MAX_SPANS, settled_s: float = SETTLED_S) -> None:
        self._max_traces, self._max_spans, self._settled_s = max_traces, max_spans, settled_s
        self._traces: OrderedDict[str, dict[str, Span]] = OrderedDict()
        # When the last span of each trace came, on the monotonic clock.
        self._arrivals: dict[str, float] = {}
        # Trace id to the spans of other traces that carried some request of it.
        self._carriers: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        self._changed = threading.Condition()

    def add(self, spans: Iterable[Span]) -> None:
        """Keep `spans`, and drop the oldest traces beyond the limit."""
        with self._changed:
            for span in spans:
                trace = self._traces.setdefault(span.trace_id, {})
                if len(trace) < self._max_spans:
                    trace[span.span_id] = span
                    self._arrivals[span.trace_id] = time.monotonic()
                    for linked, _ in span.links:
                        self._carriers[linked].add((span.trace_id, span.span_id))
            while len(self._traces) > self._max_traces:
                self._drop(*self._traces.popitem(last=False))
            self._changed.notify_all()

    def get(self, trace_id: str, parent_id: str = "", wait_s: float = 0) -> list[Span]:
        """Return the spans of a trace, and those of other traces that its requests travelled in.

        Waits up to `wait_s` seconds for the child of `parent_id` and all that belongs to it; then returns what there is.
        """
        deadline = time.monotonic() + wait_s
        with self._changed:
            while not self._is_settled(trace_id, parent_id) and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(min(left_s, self._settled_s))
            return [*self._traces.get(trace_id, {}).values(), *self._carried(trace_id)]

    def newest(self, count: int) -> list[list[Span]]:
        """Return the newest traces, each as its own spans, newest first."""
        with self._changed:
            ids = list(self._traces)[::-1][:count]
            return [list(self._traces[trace_id].values()) for trace_id in ids]

    def _is_settled(self, trace_id: str, parent_id: str) -> bool:
        return (
            _is_whole(self._traces.get(trace_id, {}), parent_id)
            and time.monotonic() - self._arrivals.get(trace_id, 0) >= self._settled_s
        )

    def _carried(self, trace_id: str) -> list[Span]:
        return [
            span
            for other, root in sorted(self._carriers.get(trace_id, ()))
            if other != trace_id
            for span in _subtree(self._traces.get(other, {}), root)
        ]

    def _drop(self, trace_id: str, spans: dict[str, Span]) -> None:
        self._arrivals.pop(trace_id, None)
        for span in spans.values():
            for linked, _ in span.links:
                carriers = self._carriers[linked]
                carriers.discard((trace_id, span.span_id))
                if not carriers:
                    del self._carriers[linked]


def _is_whole(spans: dict[str, Span], parent_id: str) -> bool:
    """Whether the child of `parent_id` is there, every parent, and for each successful call the side that answered it."""
    parents = {span.parent_id for span in spans.values()}
    return (
        parent_id in parents
        and parents <= {*spans, parent_id}
        and all(span.span_id in parents for span in spans.values() if span.kind == "client" and not span.error)
    )


def _subtree(spans: dict[str, Span], root: str) -> list[Span]:
    found, pending = {}, [root]
    while pending:
        span_id = pending.pop()
        if span_id in spans and span_id not in found:
            found[span_id] = spans[span_id]
            pending.extend(span.span_id for span in spans.values() if span.parent_id == span_id)
    return list(found.values())
