from __future__ import annotations

import numpy as np

from services.mesh.errors import Code
from services.model.calls import Answer, InferCall, RowTimes, failed, join, spread
from services.model.versions import Signature, TensorSpec

SIGNATURE = Signature((), (TensorSpec("y", "FP32", (1,)), TensorSpec("word", "BYTES", ())))


def _answer(*values: float) -> Answer:
    words = np.array([str(value).encode() for value in values], object)
    return Answer({"y": np.array(values, np.float32)[:, None], "word": words})


def test_all_rows_live_until_the_first_one_is_late() -> None:
    """The common case is told by None, so that nothing needs to be copied."""
    times = RowTimes(arrived=100.0, left_ms=[50, 5, 70])
    assert times.living(100.004) is None
    assert [0, 2] == times.living(100.006)
    assert [] == times.living(101)


def test_taken_rows_keep_their_times() -> None:
    """Rows, inputs and times stay together, by range and by list."""
    call = InferCall({"x": np.arange(4)}, 4, RowTimes(0, [1, 2, 3, 4]))
    for rows, expected in ((range(1, 3), [1, 2]), ([0, 3], [0, 3])):
        taken = call.take(rows)
        assert (expected, 2) == (taken.inputs["x"].tolist(), taken.rows)
        assert taken.times is not None
        assert [row + 1 for row in expected] == taken.times.left_ms


def test_joined_answers_have_codes_only_if_one_had() -> None:
    """Rows of an answer without codes count as OK beside others."""
    assert join([_answer(1), _answer(2)]).codes is None
    joined = join([_answer(1), failed(SIGNATURE, 2, Code.INTERNAL)])
    assert joined.codes is not None
    assert [0, 13, 13] == joined.codes.tolist()
    assert [[1], [0], [0]] == joined.outputs["y"].tolist()
    assert [b"1", b"", b""] == joined.outputs["word"].tolist()


def test_answers_of_some_rows_come_to_their_places() -> None:
    """The rows between keep their status and blanks."""
    whole = spread(_answer(7, 9), [0, 2], failed(SIGNATURE, 3, Code.DEADLINE_EXCEEDED))
    assert whole.codes is not None
    assert [0, 4, 0] == whole.codes.tolist()
    assert [[7], [0], [9]] == whole.outputs["y"].tolist()
    assert [b"7", b"", b"9"] == whole.outputs["word"].tolist()
