"""An inference call and its answer, apart from the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.model.datatypes import Array


@dataclass(frozen=True, slots=True)
class InferCall:
    """Rows to compute until `deadline`, in monotonic seconds.

    With `by_row` each row is judged by itself, and may have a deadline of its own in `deadlines`, whose earliest is
    `deadline`; otherwise the call succeeds or fails as one.
    """

    inputs: Mapping[str, Array]
    rows: int
    deadline: float
    by_row: bool = False
    deadlines: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The runtime that computed rows. With a `reason` it stood in for the runtime `instead_of`."""

    runtime: str
    reason: str = ""
    instead_of: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Every output of the signature.

    `codes` has a status code for each row; None: all rows are OK. `sources` are those that computed rows, and
    `row_sources` the index of each row's; None: all rows came from the first. No source computed a row that failed.
    """

    outputs: dict[str, Array]
    codes: Array | None
    sources: Sequence[Source]
    row_sources: Array | None = None
