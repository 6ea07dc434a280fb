"""Rows of several calls that are computed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.mesh.errors import MeshError
from services.model.calls import Source
from services.model.datatypes import Array
from services.model.errors import InvalidOutput
from services.model.queue import Portion
from services.model.tickets import Rows, Ticket, index_of
from services.model.versions import Signature


class Batch:
    """Portions of calls, in the order of their rows in it."""

    __slots__ = ("portions", "rows")

    def __init__(self, portions: Sequence[Portion]) -> None:
        self.portions = portions
        self.rows = sum(len(portion.rows) for portion in portions)

    def inputs(self) -> Mapping[str, Array]:
        """Put the inputs of its rows together."""
        if len(self.portions) == 1:
            return _inputs(self.portions[0])
        parts = [_inputs(portion) for portion in self.portions]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def earliest(self) -> float:
        """The first deadline of a row in it, in monotonic seconds."""
        return min(_deadlines(ticket, rows)[0] for ticket, rows in self.portions)

    def due(self) -> tuple[float, float]:
        """When the first and the last of its rows have to be computed to be with their callers in time."""
        first = min(ticket.due(_deadlines(ticket, rows)[0]) for ticket, rows in self.portions)
        last = max(ticket.due(_deadlines(ticket, rows)[-1]) for ticket, rows in self.portions)
        return first, last

    def living(self) -> Batch:
        """Leave out the calls that nobody waits for any more."""
        portions = [portion for portion in self.portions if not portion.ticket.answer.done()]
        return self if len(portions) == len(self.portions) else Batch(portions)

    def due_after(self, now: float) -> tuple[Batch, list[Portion]]:
        """Part what somebody waits for and is due later than `now` from what is late; what nobody waits for is dropped."""
        living = self.living()
        if living is self and self.earliest() > now:
            return self, []
        due, late = [], []
        for ticket, rows in living.portions:
            past = _late(ticket, rows, now)
            if past:
                late.append(Portion(ticket, past))
                rows = sorted(set(rows).difference(past))  # noqa: PLW2901 - those that are left
            if rows:
                due.append(Portion(ticket, rows))
        return Batch(due), late

    def halves(self) -> list[Batch]:
        """Part it between calls, or within the only one if that is judged by row; no parts if it cannot be parted."""
        if not self.portions:
            return []
        if len(self.portions) > 1:
            middle = len(self.portions) // 2
            return [Batch(self.portions[:middle]), Batch(self.portions[middle:])]
        [(ticket, rows)] = self.portions
        if len(rows) == 1 or not ticket.call.by_row:
            return []
        middle = len(rows) // 2
        return [Batch([Portion(ticket, rows[:middle])]), Batch([Portion(ticket, rows[middle:])])]

    def fail(self, error: MeshError) -> None:
        """Give all of it up."""
        for ticket, rows in self.portions:
            ticket.failed(rows, error)

    def abandon(self, error: MeshError) -> None:
        """Fail its calls as a whole, whatever has become of their rows."""
        for ticket, _ in self.portions:
            ticket.abandoned(error)

    def answer(self, signature: Signature, outputs: Mapping[str, Array], source: Source) -> int:
        """Give each call its rows, and say how many rows are not finite where they must be.

        InvalidOutput, before anybody is given anything, when an output is of another shape.
        """
        for spec in signature.outputs:
            if outputs[spec.name].shape != spec.batch_shape(self.rows):
                raise InvalidOutput(f"output {spec.name!r} came in shape {outputs[spec.name].shape}", output=spec.name)
        codes = _finite_codes(signature, outputs, self.rows)
        if len(self.portions) == 1:
            _answer(self.portions[0], outputs, codes, source)
        else:
            start = 0
            for portion in self.portions:
                end = start + len(portion.rows)
                own = {name: values[start:end] for name, values in outputs.items()}
                _answer(portion, own, None if codes is None else codes[start:end], source)
                start = end
        return 0 if codes is None else int(np.count_nonzero(codes))


def _inputs(portion: Portion) -> Mapping[str, Array]:
    ticket, rows = portion
    if ticket.is_whole(rows):
        return ticket.call.inputs
    index = index_of(rows)
    return {name: values[index] for name, values in ticket.call.inputs.items()}


def _deadlines(ticket: Ticket, rows: Rows) -> Sequence[float]:
    """Say the deadlines of some rows, the first and the last at the ends."""
    call = ticket.call
    if call.deadlines is None:
        return (call.deadline,)
    if len(rows) == call.rows:
        return (call.deadline, max(call.deadlines))
    found = [call.deadlines[row] for row in rows]
    return (min(found), max(found))


def _late(ticket: Ticket, rows: Rows, now: float) -> list[int]:
    deadlines = ticket.call.deadlines
    return [row for row in rows if (ticket.call.deadline if deadlines is None else deadlines[row]) <= now]


def _finite_codes(signature: Signature, outputs: Mapping[str, Array], rows: int) -> Array | None:
    codes: Array | None = None
    for name in signature.finite_outputs:
        finite = np.isfinite(outputs[name])
        if finite.all():
            continue
        codes = np.zeros(rows, np.int32) if codes is None else codes
        codes[~finite.reshape(rows, -1).all(axis=1)] = InvalidOutput.code
    return codes


def _answer(portion: Portion, outputs: Mapping[str, Array], codes: Array | None, source: Source) -> None:
    ticket, rows = portion
    if codes is not None and not codes.any():
        codes = None
    if codes is not None and not ticket.call.by_row:
        ticket.failed(rows, InvalidOutput("an output is not finite"))
    else:
        ticket.answered(rows, outputs, codes, source)
