"""The store keeps the newest traces in bounds and waits for one to be whole."""

from __future__ import annotations

import threading
import time

from services.cli.traces.spans import Span
from services.cli.traces.store import TraceStore
from tests.support.spans import span

LIMIT_S = 10.0


def ids(spans: list[Span]) -> set[str]:
    """Return the ids of spans."""
    return {span.span_id for span in spans}


def test_newest_traces_stay() -> None:
    """Beyond the limit the oldest trace goes, with what was known of its links."""
    store = TraceStore(max_traces=2)
    store.add([span("a", trace_id="t1"), span("b", trace_id="t2", links=(("t1", "a"),)), span("c", trace_id="t3")])
    assert [["c"], ["b"]] == [sorted(ids(trace)) for trace in store.newest(10)]
    assert {"b"} == ids(store.get("t1"))
    store.add([span("d", trace_id="t4")])
    assert [] == store.get("t1")


def test_spans_of_a_trace_are_bounded() -> None:
    """A trace that never ends does not fill the memory."""
    store = TraceStore(max_spans=3)
    store.add(span(str(number)) for number in range(10))
    assert 3 == len(store.get("t1"))


def test_carriers() -> None:
    """A trace brings along the batches of other traces that carried it, with all below them and nothing beside them."""
    store = TraceStore()
    store.add([span("predict"), span("other", trace_id="t2"), span("hop", "batch", trace_id="t2")])
    store.add(
        [span("batch", "other", trace_id="t2", links=(("t1", "predict"),)), span("aside", "other", trace_id="t2")]
    )
    assert {"predict", "batch", "hop"} == ids(store.get("t1"))


def test_waits_until_the_trace_is_whole() -> None:
    """The answer waits for the root, every parent, and the other side of each call that succeeded."""
    store = TraceStore(settled_s=0.01)
    found: list[Span] = []
    asker = threading.Thread(target=lambda: found.extend(store.get("t1", "caller", LIMIT_S)))
    asker.start()
    store.add([span("hop", "predict", kind="client"), span("serve", "hop", kind="server")])
    store.add([span("failed", "predict", kind="client", error="refused")])
    asker.join(0.05)
    assert asker.is_alive()
    store.add([span("predict", "caller", kind="server")])
    asker.join(LIMIT_S)
    assert {"predict", "hop", "serve", "failed"} == ids(found)


def test_waits_for_the_side_that_answers() -> None:
    """A call without its other side is not whole yet."""
    store = TraceStore(settled_s=0)
    store.add([span("predict", "caller", kind="server"), span("hop", "predict", kind="client")])
    started = time.monotonic()
    assert {"predict", "hop"} == ids(store.get("t1", "caller", 0.1))
    assert 0.1 <= time.monotonic() - started


def test_limit_holds_under_traffic() -> None:
    """Other traces that arrive all the time do not keep anybody waiting beyond the limit."""
    store, stop = TraceStore(), threading.Event()

    def arrive() -> None:
        while not stop.wait(0.005):
            store.add([span("x", trace_id="t9")])

    traffic = threading.Thread(target=arrive)
    traffic.start()
    try:
        started = time.monotonic()
        assert [] == store.get("t1", "caller", 0.2)
        assert LIMIT_S > time.monotonic() - started
    finally:
        stop.set()
        traffic.join()
