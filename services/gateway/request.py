"""A request: as it came, and as a member of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    import numpy as np
    import numpy.typing as npt

    from services.gateway.prediction import Outcome
    from services.gateway.target import DType, Source
    from services.mesh.context import CallContext
    from services.mesh.deadline import Deadline


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


@dataclass(slots=True, eq=False)
class Member:
    """A request on its way in a batch: its rows, until when, and who waits for the answer.

    `arrived` is in seconds of `time.monotonic()`. `explain` asks for what the model got, and where from.
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

    def done(self) -> bool:
        """Return whether nobody waits any more: answered, too late, or cancelled."""
        return self.answer.done()


@dataclass(slots=True)
class PredictCall:
    """A request as it came. Times are microseconds since the epoch; `timeout_s` None means the caller set none."""

    endpoint: str
    pin: str
    entities: list[Column]
    features: list[Column]
    as_of_us: int
    prediction_id: str
    deadline: Deadline | None
    explain: bool = field(default=False)
