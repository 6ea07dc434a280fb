"""A request: as it came, and as a member of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import asyncio

    import numpy as np
    import numpy.typing as npt

    from services.gateway.prediction import Outcome
    from services.gateway.target import DType, Source
    from services.mesh.context import CallContext
    from services.mesh.deadline import Deadline
    from services.mesh.errors import MeshError


@dataclass(slots=True)
class Column:
    """A named column as it came. `kind` names the field of types.v1.Tensor that was filled; "" if none was.

    `dtype` is what the caller says of the type; None leaves it to the definition.
    """

    name: str
    kind: str
    values: list[str] | list[int] | list[float] | list[bool] | list[bytes]
    null_rows: Sequence[int] = ()
    shape: Sequence[int] = ()
    dtype: DType | None = None


@dataclass(slots=True)
class Override:
    """Request-time values: `values` is [rows, width] of the input's type, `present` marks the rows that have one."""

    input_index: int
    source: Source
    values: npt.NDArray[np.generic]
    present: npt.NDArray[np.bool_] | None


@dataclass(slots=True)
class Travel:
    """How far a batch has come, in seconds of `time.monotonic()`: when it left, and when its features were there.

    `assembled` is 0 before.
    """

    left: float
    assembled: float = 0.0


@dataclass(slots=True, eq=False)
class Member:
    """A request on its way in a batch: its rows, until when, and who waits for the answer.

    `arrived` is in seconds of `time.monotonic()`. `explain` asks for what the model got, and where from. If every row has
    failed, `failed` says why for each; the answer is the first one's error then. `travel` is that of the batch it left in.
    """

    rows: int
    keys: list[list[str] | list[int]]
    overrides: list[Override]
    as_of_us: int
    deadline: Deadline
    call: CallContext | None
    answer: asyncio.Future[Outcome]
    arrived: float
    explain: bool = False
    failed: Mapping[int, MeshError] | None = None
    travel: Travel | None = None

    def done(self) -> bool:
        """Return whether nobody waits any more: answered, too late, or cancelled."""
        return self.answer.done()


@dataclass(slots=True)
class PredictCall:
    """A request as it came. Times are microseconds since the epoch; without a `deadline` the caller set none.

    `member` is the request as its route's version takes it, once it has been found to be one that can be answered.
    """

    endpoint: str
    pin: str
    entities: list[Column]
    features: list[Column]
    as_of_us: int
    prediction_id: str
    deadline: Deadline | None
    explain: bool = field(default=False)
    member: Member | None = field(default=None, compare=False, repr=False)


def rows_of(call: PredictCall, rows: Sequence[int], of: int) -> PredictCall:
    """Return the request for some of its rows, of which there are `of`; it must have been checked."""
    if len(rows) == of:
        return call
    return replace(
        call,
        entities=[_rows_of(column, rows, of) for column in call.entities],
        features=[_rows_of(column, rows, of) for column in call.features],
    )


def _rows_of(column: Column, rows: Sequence[int], of: int) -> Column:
    width = len(column.values) // of
    null_rows = set(column.null_rows)
    values = [value for row in rows for value in column.values[row * width : (row + 1) * width]]
    return replace(
        column,
        values=cast("list[str]", values),
        null_rows=[index for index, row in enumerate(rows) if row in null_rows],
        shape=[len(rows), *column.shape[1:]] if column.shape else (),
    )
