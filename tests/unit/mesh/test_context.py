"""Trace and request identity, as they come in and go out."""

from __future__ import annotations

import pytest

from services.mesh.context import CallContext, new_span_id, new_trace_id, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", (TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-00", (TRACE, SPAN, False)),
        (f"00-{TRACE}-{SPAN}-03", (TRACE, SPAN, True)),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", (TRACE, SPAN, True)),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-+{TRACE[1:]}-{SPAN}-01", None),
        (f"00-{TRACE[:-1]}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f"00-{TRACE}-{SPAN}-01\n", None),
        ("", None),
        ("garbage", None),
    ],
)
def test_traceparent_is_read_as_w3c_says(header: str, expected: tuple[str, str, bool] | None) -> None:
    """A header that breaks the format counts as none, so that a new trace is begun."""
    assert expected == parse_traceparent(header)


def test_traceparent_names_the_span_as_parent() -> None:
    """What is handed on reads back as the same trace, under the call's span."""
    call = CallContext("request", TRACE, SPAN, sampled=True)
    assert (TRACE, SPAN, True) == parse_traceparent(call.traceparent())


def test_call_without_a_span_hands_on_a_valid_header() -> None:
    """The trace id goes on even where no span was made."""
    call = CallContext("request", TRACE, "", sampled=False)
    parsed = parse_traceparent(call.traceparent())
    assert parsed is not None
    assert (TRACE, False) == (parsed[0], parsed[2])


def test_new_ids_are_valid_and_differ() -> None:
    """Ids made here are read back."""
    ids = {(new_trace_id(), new_span_id()) for _ in range(100)}
    assert 100 == len(ids)
    assert all(parse_traceparent(f"00-{trace}-{span}-00") == (trace, span, False) for trace, span in ids)
