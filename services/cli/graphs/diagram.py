"""What a version is made of, as blocks that take from one another: the same for composed versions and plain ones."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Port:
    """An output of a block."""

    block: str
    output: str

    def __str__(self) -> str:
        return f"{self.block}.{self.output}"


@dataclass(frozen=True)
class Edge:
    """What a block takes: of a port, or where that is None, of the feature views and the request. `note` says what for."""

    source: Port | None
    target: str
    label: str
    type: str
    note: str = ""


@dataclass(frozen=True)
class Output:
    """What a block gives."""

    name: str
    type: str


class Kind(StrEnum):
    """What a block is; a plain version is a model."""

    MODEL = "model"
    ENSEMBLE = "ensemble"
    CASCADE = "cascade"
    ANSWER = "answer"


@dataclass(frozen=True)
class Block:
    """A node, a plain version, or the answer. `what` says in words what it does."""

    kind: Kind
    name: str
    what: str
    takes: tuple[Edge, ...]
    gives: tuple[Output, ...] = ()


@dataclass(frozen=True)
class Diagram:
    """Blocks, each behind those that it takes from; the last one is the answer."""

    blocks: tuple[Block, ...]
