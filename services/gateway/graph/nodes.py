"""A composed version as the gateway computes it: nodes in the order of computation, and which rows each is asked about.

A cascade parts the computation into segments: segment k is asked about the rows that k stages were not sure of, and what
takes from the cascade itself comes after all of them. Without a cascade there is one segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from services.gateway.target import Output, Target


class Port(NamedTuple):
    """An output of a node: places among the graph's nodes, and among the node's outputs."""

    node: int
    output: int


class EnsembleMethod(Enum):
    """How several outputs become one; the value is the wire's number."""

    VOTE = 1
    MEAN = 2
    WEIGHTED_MEAN = 3
    MAX = 4


class ConfidenceMeasure(Enum):
    """How sure a node is; the value is the wire's number."""

    PROBABILITY = 1
    VALUE = 2


@dataclass(frozen=True, slots=True, eq=False)
class ModelNode:
    """A version of a model, the `target` as the model service knows it.

    `feeds` has for each of its inputs the place among the composed target's inputs, or the ports whose elements it takes.
    `defaults` are arrays [1, width] by output, which stand where an optional node fails; None where nothing does.
    `finite_outputs` are those that an ensemble takes, or another model as an input that must be finite: NaN and infinity
    are failures of the node there.
    """

    name: str
    target: Target
    feeds: tuple[int | tuple[Port, ...], ...]
    optional: bool
    defaults: tuple[npt.NDArray[np.generic], ...] | None
    finite_outputs: tuple[int, ...]
    segment: int

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What it gives."""
        return self.target.outputs


@dataclass(frozen=True, slots=True, eq=False)
class EnsembleNode:
    """Several ports of one type and shape as one; `weights` are there for each member in a weighted mean, else empty."""

    name: str
    method: EnsembleMethod
    members: tuple[Port, ...]
    weights: tuple[float, ...]
    outputs: tuple[Output, ...]
    segment: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A node that may answer for a cascade; `ports` has one for each of the cascade's outputs.

    The answer stands if the confidence at the port `confidence` is at least `threshold`; always, where there is no port.
    """

    node: int
    ports: tuple[Port, ...]
    confidence: Port | None
    measure: ConfidenceMeasure
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class CascadeNode:
    """The answer of the first stage that is sure."""

    name: str
    stages: tuple[Stage, ...]
    outputs: tuple[Output, ...]
    segment: int


Node = ModelNode | EnsembleNode | CascadeNode


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes, each behind those that it takes from; `outputs` has a port for each output of the composed target.

    `cascade` is the place of the graph's cascade. Its stages' nodes lie in segments 0 to K-1, for K stages, and what takes
    from it in segment K, as it does itself. What only stages need lies in the segment of the first that does, all else in
    segment 0.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[Port, ...]
    cascade: int | None

    @cached_property
    def path(self) -> tuple[tuple[int, str], ...]:
        """Places and names of the nodes that an answer's path tells of: those of models, and the cascade."""
        return tuple((place, node.name) for place, node in enumerate(self.nodes) if not isinstance(node, EnsembleNode))

    @cached_property
    def models(self) -> tuple[int, ...]:
        """Places of the nodes that are versions of models."""
        return tuple(place for place, node in enumerate(self.nodes) if isinstance(node, ModelNode))

    @cached_property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the nodes that are the cascade's stages."""
        node = None if self.cascade is None else self.nodes[self.cascade]
        return tuple(self.nodes[stage.node].name for stage in node.stages) if isinstance(node, CascadeNode) else ()

    def segment(self, number: int) -> tuple[int, ...]:
        """Places of the nodes of a segment, in the order of computation; the cascade itself is of none."""
        return tuple(place for place, node in enumerate(self.nodes) if node.segment == number and place != self.cascade)

    def taken_from(self, place: int) -> tuple[int, ...]:
        """Places of the nodes that a node takes from."""
        match self.nodes[place]:
            case ModelNode(feeds=feeds):
                return tuple(port.node for feed in feeds if isinstance(feed, tuple) for port in feed)
            case EnsembleNode(members=members):
                return tuple(port.node for port in members)
            case CascadeNode(stages=stages):
                return tuple(stage.node for stage in stages)

    def coming_after(self, place: int) -> tuple[int, ...]:
        """Places of the versions that may be asked once a node is done: what takes from it, and later segments."""
        taking = {place}
        for other in range(place + 1, len(self.nodes)):
            later = self.nodes[other].segment > self.nodes[place].segment
            if later or taking.intersection(self.taken_from(other)):
                taking.add(other)
        return tuple(other for other in sorted(taking - {place}) if isinstance(self.nodes[other], ModelNode))
