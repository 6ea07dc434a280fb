"""Composed versions: nodes, and what they give each other."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from services.registry.definitions.tensors import Tensor


@dataclass(frozen=True, slots=True)
class Port:
    """An output of a node; an empty name is that of the only one."""

    node: str
    output: str = ""

    def __str__(self) -> str:
        return f"{self.node}.{self.output}" if self.output else self.node


@dataclass(frozen=True, slots=True)
class NodeInput:
    """An input of a model node that other nodes feed, the elements of several one behind the other."""

    input: str
    sources: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class ModelNode:
    """A version of a model, bound as it is but for `inputs`. `defaults` are one row of every output, or none at all."""

    model: str
    version: str
    inputs: tuple[NodeInput, ...] = ()
    optional: bool = False
    defaults: tuple[Tensor, ...] = ()


class EnsembleMethod(enum.StrEnum):
    """How several outputs become one."""

    UNSPECIFIED = ""
    VOTE = "VOTE"
    MEAN = "MEAN"
    WEIGHTED_MEAN = "WEIGHTED_MEAN"
    MAX = "MAX"


@dataclass(frozen=True, slots=True)
class EnsembleMember:
    """One of the outputs of an ensemble; a weight only in a weighted mean."""

    source: Port
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Several outputs of one type and shape as one, which has the name of the first."""

    method: EnsembleMethod
    members: tuple[EnsembleMember, ...]


class ConfidenceMeasure(enum.StrEnum):
    """How sure a node is; UNSPECIFIED is as PROBABILITY, UNKNOWN is one of a newer release."""

    UNSPECIFIED = ""
    PROBABILITY = "PROBABILITY"
    VALUE = "VALUE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class CascadeStage:
    """A node that may answer. The last stage has neither confidence nor threshold."""

    node: str
    confidence: Port | None = None
    measure: ConfidenceMeasure = ConfidenceMeasure.UNSPECIFIED
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class Cascade:
    """Nodes in the order in which they are asked, until one is sure."""

    stages: tuple[CascadeStage, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A step of the computation: exactly one of the kinds is set."""

    name: str
    model: ModelNode | None = None
    ensemble: Ensemble | None = None
    cascade: Cascade | None = None


@dataclass(frozen=True, slots=True)
class GraphOutput:
    """An output of the composed version."""

    name: str
    source: Port


@dataclass(frozen=True, slots=True)
class Graph:
    """What a composed version is made of."""

    nodes: tuple[Node, ...]
    outputs: tuple[GraphOutput, ...]
