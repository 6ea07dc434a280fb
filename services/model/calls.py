"""An inference call and its answer, apart from the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.mesh.errors import Code
from services.model.datatypes import Array, blank
from services.model.versions import Signature


@dataclass(frozen=True, slots=True)
class RowTimes:
    """How long each row's own caller waits: milliseconds from `arrived`, which is in monotonic seconds."""

    arrived: float
    left_ms: Sequence[float]

    def living(self, now: float) -> list[int] | None:
        """Say which rows still have time; None: all of them."""
        passed_ms = (now - self.arrived) * 1000
        if min(self.left_ms) > passed_ms:
            return None
        return [row for row, left_ms in enumerate(self.left_ms) if left_ms > passed_ms]

    def take(self, rows: Sequence[int]) -> RowTimes:
        """Keep some rows."""
        return RowTimes(self.arrived, [self.left_ms[row] for row in rows])


@dataclass(frozen=True, slots=True)
class InferCall:
    """Rows to compute. With `times` each row is judged by itself; without, the call succeeds or fails as one."""

    inputs: Mapping[str, Array]
    rows: int
    times: RowTimes | None = None

    def take(self, rows: Sequence[int]) -> InferCall:
        """Keep some rows."""
        index = slice(rows.start, rows.stop) if isinstance(rows, range) else list(rows)
        inputs = {name: values[index] for name, values in self.inputs.items()}
        return InferCall(inputs, len(rows), self.times and self.times.take(rows))


@dataclass(frozen=True, slots=True)
class Answer:
    """Every output of the signature. `codes` has a status code for each row; None: all rows are OK."""

    outputs: dict[str, Array]
    codes: Array | None = None


def failed(signature: Signature, rows: int, code: Code) -> Answer:
    """Answer blank rows of one status."""
    outputs = {spec.name: blank(spec.datatype, spec.batch_shape(rows)) for spec in signature.outputs}
    return Answer(outputs, np.full(rows, code, np.int32))


def join(answers: Sequence[Answer]) -> Answer:
    """Put the answers of consecutive rows behind one another."""
    if len(answers) == 1:
        return answers[0]
    outputs = {name: np.concatenate([answer.outputs[name] for answer in answers]) for name in answers[0].outputs}
    if all(answer.codes is None for answer in answers):
        return Answer(outputs)
    return Answer(outputs, np.concatenate([_codes(answer) for answer in answers]))


def spread(answer: Answer, rows: Sequence[int], whole: Answer) -> Answer:
    """Put the answer of some rows into their places among all of them."""
    index = list(rows)
    for name, values in answer.outputs.items():
        whole.outputs[name][index] = values
    codes = _codes(whole)
    codes[index] = _codes(answer)
    return Answer(whole.outputs, codes)


def _codes(answer: Answer) -> Array:
    if answer.codes is not None:
        return answer.codes
    return np.zeros(len(next(iter(answer.outputs.values()))), np.int32)
