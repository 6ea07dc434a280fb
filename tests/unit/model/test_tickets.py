from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mesh.errors import DeadlineExceeded, Overloaded
from services.model.calls import InferCall, Source
from services.model.errors import RuntimeFailed
from services.model.queue import DeadlineQueue
from services.model.tickets import Ticket
from services.model.versions import Signature, TensorSpec
from tests.support.loops import in_loop

SIGNATURE = Signature((), (TensorSpec("y", "FP32", (1,)), TensorSpec("word", "BYTES", ())))
TRITON, ONNX = Source("triton"), Source("onnx", "RUNTIME_FAILED", "triton")


def _ticket(rows: int, deadlines: Sequence[float] | None = None, *, by_row: bool = True) -> Ticket:
    deadline = min(deadlines) if deadlines else 5.0
    return Ticket(InferCall({}, rows, deadline, by_row, deadlines), SIGNATURE, None)


def _outputs(*values: float) -> dict[str, np.ndarray]:
    words = np.array([str(int(value)).encode() for value in values], object)
    return {"y": np.array(values, np.float32)[:, None], "word": words}


async def test_parts_of_a_call_come_to_their_places() -> None:
    """In whatever order; each row has its status and its runtime."""
    ticket = _ticket(4)
    ticket.answered([3, 1], _outputs(13, 11), None, ONNX)
    ticket.failed(range(2, 3), DeadlineExceeded("late"))
    assert not ticket.answer.done()
    ticket.answered(range(1), _outputs(10), np.array([13], np.int32), TRITON)
    answer = await ticket.answer
    assert [[10], [11], [0], [13]] == answer.outputs["y"].tolist()
    assert [b"10", b"11", b"", b"13"] == answer.outputs["word"].tolist()
    assert answer.codes is not None
    assert answer.row_sources is not None
    assert [13, 0, 4, 0] == answer.codes.tolist()
    assert ([ONNX, TRITON], [1, 0, 0, 0]) == (answer.sources, answer.row_sources.tolist())


async def test_an_answer_that_comes_whole_is_handed_on_as_it_is() -> None:
    """No copy, no codes, one source."""
    ticket, outputs = _ticket(2), _outputs(1, 2)
    ticket.answered(ticket.take(2, math.inf), outputs, None, TRITON)
    answer = await ticket.answer
    assert answer.outputs["y"] is outputs["y"]
    assert (None, None, [TRITON]) == (answer.codes, answer.row_sources, answer.sources)


async def test_a_call_of_which_nothing_was_computed_fails() -> None:
    """With what was said last, so that a refusal brings its time to come back; not so if reasons differ."""
    ticket = _ticket(2)
    for row in range(2):
        ticket.failed(range(row, row + 1), Overloaded("full", retry_after_s=row + 1))
    with pytest.raises(Overloaded) as refused:
        await ticket.answer
    assert 2 == refused.value.retry_after_s
    ticket = _ticket(2)
    ticket.failed(range(1), Overloaded("full"))
    ticket.failed(range(1, 2), DeadlineExceeded("late"))
    codes = (await ticket.answer).codes
    assert codes is not None
    assert [8, 4] == codes.tolist()


async def test_a_call_not_judged_by_row_fails_with_its_first_part() -> None:
    """What comes later changes nothing."""
    ticket = _ticket(2, by_row=False)
    ticket.failed(range(1), RuntimeFailed("bad"))
    ticket.answered(range(1, 2), _outputs(1), None, TRITON)
    with pytest.raises(RuntimeFailed):
        await ticket.answer


@given(
    calls=st.lists(st.lists(st.floats(0, 100), min_size=1, max_size=5), min_size=1, max_size=8),
    sizes=st.lists(st.integers(1, 7), min_size=1),
)
def test_rows_leave_in_the_order_of_their_deadlines(calls: list[list[float]], sizes: list[int]) -> None:
    """Whatever the calls and the batches: every row once, no batch too large, none before a more urgent one."""

    async def check() -> None:
        queue = DeadlineQueue()
        tickets = [_ticket(len(deadlines), deadlines) for deadlines in calls]
        for ticket in tickets:
            queue.push(ticket)
        taken: list[tuple[int, int]] = []
        batches: list[list[float]] = []
        turn = 0
        while queue:
            size = sizes[turn % len(sizes)]
            turn += 1
            batch = [(tickets.index(ticket), row) for ticket, rows in queue.take(size) for row in rows]
            assert 1 <= len(batch) <= size
            taken += batch
            batches.append([calls[ticket][row] for ticket, row in batch])
        assert sorted(taken) == [(ticket, row) for ticket, rows in enumerate(calls) for row in range(len(rows))]
        for before, after in itertools.pairwise(batches):
            assert max(before) <= min(after)

    in_loop(check)


async def test_only_rows_due_by_a_time_are_taken() -> None:
    """The others wait on, and are counted."""
    queue = DeadlineQueue()
    queue.push(_ticket(3, [1, 9, 2]))
    queue.push(_ticket(2))
    [(_, rows)] = queue.take(10, 2.5)
    assert [0, 2] == rows
    assert (3, 5.0) == (queue.rows, queue.deadline)
    assert [] == queue.take(10, 2.5)


async def test_who_leaves_is_neither_counted_nor_taken() -> None:
    """From any place of the queue."""
    queue = DeadlineQueue()
    tickets = [_ticket(2, [deadline] * 2) for deadline in (1.0, 2.0, 3.0)]
    for ticket in tickets:
        queue.push(ticket)
    queue.left(tickets[0])
    queue.left(tickets[1])
    assert (2, 3.0) == (queue.rows, queue.deadline)
    assert [tickets[2]] == [portion.ticket for portion in queue.take(10)]
    queue.left(tickets[2])
    assert not queue


async def test_who_has_left_is_forgotten_though_others_are_more_urgent() -> None:
    """A queue that never empties must not keep the inputs of all who have given up."""
    queue = DeadlineQueue()
    taken_apart = _ticket(3, [0.5, 3.0, 7.0])
    queue.push(taken_apart)
    queue.take(1)
    queue.push(_ticket(1, [1.0]))
    gone = [taken_apart, *(_ticket(2, [deadline] * 2) for deadline in (8.0, 7.0, 7.0, 9.0))]
    for ticket in gone[1:]:
        queue.push(ticket)
    known = [weakref.ref(ticket) for ticket in gone]
    del taken_apart, ticket
    while gone:
        queue.left(gone.pop())
    assert {None} == {reference() for reference in known}
    assert (1, 1.0) == (queue.rows, queue.deadline)


async def test_who_never_came_cannot_leave() -> None:
    """A call that was answered without a place in the queue."""
    queue = DeadlineQueue()
    queue.push(_ticket(2))
    queue.left(_ticket(2))
    assert 2 == queue.rows


async def test_what_is_ahead_is_counted_by_deadline() -> None:
    """Exactly for calls of one size."""
    queue = DeadlineQueue()
    for deadline in (1.0, 2.0, 3.0, 4.0):
        queue.push(_ticket(2, [deadline] * 2))
    assert [0, 4, 8] == [queue.ahead_of(deadline) for deadline in (0.5, 2.5, 9.0)]
