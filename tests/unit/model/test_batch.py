"""What becomes of the rows of a batch between its making and its start."""

from __future__ import annotations

import time

from services.model.batch import Batch
from services.model.queue import Portion
from services.model.tickets import Ticket
from tests.support.stations import SIGNATURE, call


async def test_what_is_late_or_unwanted_leaves_a_batch() -> None:
    """A call that is late, rows that are, and a call whose caller has gone; the others stay in their order."""
    whole, late, gone = (Ticket(call(1, 2, left_s=left_s), SIGNATURE, None) for left_s in (60, 0.5, 60))
    by_row = Ticket(call(1, 2, 3, left_ms=(60_000, 500, 60_000)), SIGNATURE, None)
    gone.answer.cancel()
    batch = Batch([Portion(ticket, range(ticket.call.rows)) for ticket in (whole, late, gone, by_row)])
    due, past = batch.due_after(time.monotonic() + 1)
    assert [(whole, [0, 1]), (by_row, [0, 2])] == [(ticket, list(rows)) for ticket, rows in due.portions]
    assert [(late, [0, 1]), (by_row, [1])] == [(ticket, list(rows)) for ticket, rows in past]
    assert due.rows == 4


async def test_a_batch_of_which_all_is_due_stays_as_it_is() -> None:
    """That is the usual case, which costs next to nothing."""
    batch = Batch([Portion(Ticket(call(1), SIGNATURE, None), range(1))])
    assert (batch, []) == batch.due_after(time.monotonic())
