"""What goes along the edges of a composed version, by what gateways have counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.cli import durations
from services.cli.graphs.diagram import Block, Diagram, Edge, Kind
from services.cli.graphs.metrics import Counts, Measured, count, quantile

NODE_ROWS = "predictmesh_node_rows"
NODE_DURATION = "predictmesh_node_duration_seconds"
PREDICTIONS = "predictmesh_prediction_duration_seconds"
FALLBACK_ROWS = "predictmesh_fallback_rows"
FAMILIES = (NODE_ROWS, NODE_DURATION, PREDICTIONS, FALLBACK_ROWS)


@dataclass(frozen=True)
class Flow:
    """What went along an edge, or was asked of a version: a second, as a share of all, and how long it took, in seconds.

    None where nothing did, or nothing is called.
    """

    per_second: float
    share: float | None
    p50_s: float | None
    p99_s: float | None

    def texts(self, unit: str) -> tuple[str, ...]:
        """Return the figures in words; `unit` is what is counted."""
        share = "" if self.share is None else f"{100 * self.share:.3g} %"
        times = [
            "" if time is None else f"{name} {durations.rounded(time * 1e6)}"
            for name, time in (("p50", self.p50_s), ("p99", self.p99_s))
        ]
        return f"{self.per_second:.3g} {unit}/s", share, *times


def version_flow(measured: Measured, endpoint: str, version: str) -> Flow:
    """Return the calls of an endpoint that were routed to a version and answered, by a fallback too; shares are of all."""
    counts = measured.counts
    calls = count(counts, f"{PREDICTIONS}_count", endpoint=endpoint, model_version=version)
    of_all = count(counts, f"{PREDICTIONS}_count", endpoint=endpoint)
    p50, p99 = (quantile(counts, PREDICTIONS, q, endpoint=endpoint, model_version=version) for q in (0.5, 0.99))
    return Flow(calls / measured.seconds, calls / of_all if of_all else None, p50, p99)


def step_flow(measured: Measured, endpoint: str, step: str) -> Flow:
    """Return the rows that a step of an endpoint's ladder answered; shares are of all that the route's version failed."""
    name = f"{FALLBACK_ROWS}_total"
    rows = count(measured.counts, name, endpoint=endpoint, step=step)
    failed = count(measured.counts, name, endpoint=endpoint)
    return Flow(rows / measured.seconds, rows / failed if failed else None, None, None)


def edge_flows(diagram: Diagram, measured: Measured, model: str, version: str) -> Mapping[Edge, Flow]:
    """Return what went along each edge of a composed version: the rows that its source gave, in the time of its calls.

    Along edges from features go the rows that were asked of the node. Shares are of the rows that came in.
    """
    rows = _Rows(diagram, measured.counts, model, version)
    came_in = max((rows.total(block) for block in diagram.blocks), default=0)
    flows = {}
    for block in diagram.blocks:
        for edge in block.takes:
            went = rows.given(rows.blocks[edge.source.block]) if edge.source else rows.asked(block)
            times = (rows.time(edge.source.block, share) if edge.source else None for share in (0.5, 0.99))
            flows[edge] = Flow(went / measured.seconds, went / came_in if came_in else None, *times)
    return flows


class _Rows:
    """Rows of the nodes of one version. Only models are counted; what others had follows from what they take."""

    def __init__(self, diagram: Diagram, counts: Counts, model: str, version: str) -> None:
        # A node may be named as the last block is, from which nobody takes.
        self.blocks = {block.name: block for block in reversed(diagram.blocks)}
        self._counts = counts
        self._version = {"model": model, "model_version": version}

    def time(self, node: str, share: float) -> float | None:
        """Return the time in seconds within which so large a share of the node's calls was answered."""
        return quantile(self._counts, NODE_DURATION, share, node=node, **self._version)

    def total(self, block: Block) -> float:
        """Return the rows that came to a block, whatever became of them."""
        return self._count(block) if block.kind is Kind.MODEL else max(map(self.total, self._sources(block)), default=0)

    def asked(self, block: Block) -> float:
        """Return the rows that a model was asked about."""
        return self._count(block) - self._count(block, "skipped")

    def given(self, block: Block) -> float:
        """Return the rows that a block had an answer for."""
        sources = self._sources(block)
        if block.kind is Kind.MODEL:
            return self._count(block, "computed") + self._count(block, "defaulted")
        if block.kind is Kind.CASCADE:
            return self.total(block) - sum(map(self._failed, sources))
        # An ensemble is asked about no more rows than any of its members, but can do without one that is left out.
        return min(self._whole(block), max(map(self.given, sources), default=0))

    def _whole(self, block: Block) -> float:
        """Return the rows of a block that were asked of it, and did not fail there."""
        if block.kind is Kind.MODEL:
            return self.asked(block) - self._failed(block)
        return (
            self.given(block) if block.kind is Kind.CASCADE else min(map(self._whole, self._sources(block)), default=0)
        )

    def _failed(self, block: Block) -> float:
        own = self._count(block, "failed")
        return own if block.kind is Kind.MODEL else max(map(self._failed, self._sources(block)), default=0)

    def _sources(self, block: Block) -> list[Block]:
        return [self.blocks[name] for name in dict.fromkeys(edge.source.block for edge in block.takes if edge.source)]

    def _count(self, block: Block, state: str = "") -> float:
        labels = self._version | {"node": block.name} | ({"state": state} if state else {})
        return count(self._counts, f"{NODE_ROWS}_total", **labels)
