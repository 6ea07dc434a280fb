"""Rows of several batches that go through a part of a graph together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.gateway.assembly import pack

if TYPE_CHECKING:
    from services.gateway.graph.batch import Array, GraphBatch, Index
    from services.gateway.graph.nodes import ModelNode


@dataclass(slots=True, eq=False)
class Part:
    """Rows of a batch that go through a segment together."""

    batch: GraphBatch
    index: Index

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.index)

    def done(self) -> bool:
        """Whether nobody waits for any of them."""
        return not len(self.batch.opened(self.index))


def by_member(part: Part) -> list[Part]:
    """Return the rows of each member apart."""
    owners = part.batch.owner[part.index]
    return [Part(part.batch, part.index[owners == owner]) for owner in np.unique(owners)]


def packed(parts: Sequence[bytes | Array], node: ModelNode, index: int) -> bytes:
    """Return the bytes of one input for all rows."""
    dtype = node.target.inputs[index].dtype
    if len(parts) == 1:
        return parts[0] if isinstance(parts[0], bytes) else pack(parts[0], dtype)
    return b"".join(part if isinstance(part, bytes) else pack(part, dtype) for part in parts)
