"""An OTLP collector that is not ours: rotel receives the spans, and writes what it got."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import rotel

from tests.support.ending import end
from tests.worlds.ports import port_row

STOP_LIMIT_S = 10.0
_AGENT = Path(rotel.__file__).parent / "rotel-agent"
_SERVICE = re.compile(r"-> service\.name: Str\((.*)\)")
_FIELD = re.compile(r"^    (Trace ID|Parent ID|ID|Name|Kind|Status code) *: (.*)$")
_LINK = re.compile(r"^     -> (Trace ID|ID): (\w+)$")
_ATTRIBUTE = re.compile(r"^     -> ([\w.]+): \w+\((.*)\)$")
_EVENT = re.compile(r"^     -> Name: (.*)$")
_OF_EVENT = re.compile(r"^          -> ([\w.]+): \w+\((.*)\)$")


@dataclass
class Event:
    """An event of a span."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass
class Span:
    """A span as the collector tells of it. Links are (trace id, span id)."""

    service: str
    trace_id: str = ""
    parent_id: str = ""
    span_id: str = ""
    name: str = ""
    kind: str = ""
    status: str = ""
    links: list[tuple[str, str]] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)


_NAMES = {
    "Trace ID": "trace_id",
    "Parent ID": "parent_id",
    "ID": "span_id",
    "Name": "name",
    "Kind": "kind",
    "Status code": "status",
}


@dataclass(frozen=True)
class Collector:
    """A running collector; `endpoint` is where it takes OTLP over gRPC, `traces_url` where it takes traces over HTTP."""

    endpoint: str
    traces_url: str
    output: Path

    def spans(self) -> list[Span]:
        """Every span that has arrived and been written out whole."""
        return parsed(self.output.read_text())

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of one trace."""
        return [span for span in self.spans() if span.trace_id == trace_id]


def parsed(text: str) -> list[Span]:
    """Read the collector's debug output."""
    spans: list[Span] = []
    service = ""
    for line in text.splitlines():
        if found := _SERVICE.search(line):
            service = found[1]
        elif line.startswith("Span #"):
            spans.append(Span(service))
        elif spans:
            _read(spans[-1], line)
    return spans


def _read(span: Span, line: str) -> None:
    if found := _FIELD.match(line):
        setattr(span, _NAMES[found[1]], found[2])
    elif found := _LINK.match(line):
        if found[1] == "Trace ID":
            span.links.append((found[2], ""))
        else:
            span.links[-1] = (span.links[-1][0], found[2])
    elif found := _EVENT.match(line):
        span.events.append(Event(found[1]))
    elif found := _ATTRIBUTE.match(line):
        span.attributes[found[1]] = found[2]
    elif span.events and (found := _OF_EVENT.match(line)):
        span.events[-1].attributes[found[1]] = found[2]


@contextmanager
def collector(directory: Path) -> Iterator[Collector]:
    """Run a collector for the time of the context; what it writes lies in `directory`."""
    port = port_row(2)
    output = directory / "spans"
    arguments = {
        "otlp-grpc-endpoint": f"127.0.0.1:{port}",
        "otlp-http-endpoint": f"127.0.0.1:{port + 1}",
        "debug-log": "traces",
        "debug-log-verbosity": "detailed",
        "exporter": "blackhole",
        "pid-file": str(directory / "pid"),
    }
    command = [str(_AGENT), "start", *(text for name, value in arguments.items() for text in (f"--{name}", value))]
    with output.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield Collector(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}/v1/traces", output)
    finally:
        end(process, STOP_LIMIT_S)
