"""The last answers of endpoints whose ladder has a step for them: by entity keys, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from services.gateway.assembly import zeros
from services.gateway.errors import NoLastAnswer
from services.gateway.ladder.steps import LastAnswerStep
from services.gateway.prediction import Outcome
from services.mesh.telemetry import names

if TYPE_CHECKING:
    import numpy.typing as npt

    from services.gateway.routing import RoutingTable
    from services.gateway.target import Output, Target
    from services.mesh.errors import MeshError

    Array = npt.NDArray[np.generic]

# One row's key: the value of the only key column, or those of all in the order of their names.
Key = str | int | tuple[str | int, ...]
Keys = Sequence[Sequence[str] | Sequence[int]]
# What a row of one key column and one output takes beside the text of its key and the elements of its output, as it was
# measured; and what each further key column, output and text does.
ROW_BYTES, OBJECT_BYTES = 430, 56
# Rows that are forgotten at a time for their age.
TIDIED_ROWS = 64


# Of each output of a row the bytes, or of BYTES the elements.
Values = tuple[bytes | tuple[bytes, ...], ...]
# A row's answer: when it was made in seconds of the monotonic clock, for which as_of in microseconds, by which version and
# runtime, and what it is. Of all that is remembered the garbage collector leaves only plain tuples alone.
Answer = tuple[float, int, str, str, Values]


class _Kind(NamedTuple):
    """Answers that may stand in for each other: those of an endpoint and its model, for the same keys and outputs."""

    endpoint: str
    model: str
    keys: tuple[tuple[str, bool], ...]
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(slots=True, eq=False)
class Found:
    """Last answers for rows of a request: what could not be found is among the outcome's row errors.

    The oldest was made `age_ms` before; `version` is the one that made them all, "" if there were several.
    """

    outcome: Outcome
    version: str = ""
    age_ms: int | None = None


@dataclass(slots=True, eq=False)
class _Shelf:
    """The answers of one kind, the oldest first. `max_bytes` bounds them, and none is kept for longer than `max_age_s`.

    `row_bytes` is what each takes beside the letters of its texts, which are in BYTES outputs too if `has_texts`.
    """

    kind: _Kind
    row_bytes: int
    has_texts: bool
    max_bytes: int = 0
    max_age_s: float = 0.0
    bytes: int = 0
    answers: OrderedDict[Key, Answer] = field(default_factory=OrderedDict)

    def put(self, key: Key, answer: Answer) -> None:
        """Keep an answer in the place of the one before it."""
        before = self.answers.pop(key, None)
        self.answers[key] = answer
        if before is None:
            self.bytes += self._size(key, answer)
        elif self.has_texts:
            self.bytes += self._size(key, answer) - self._size(key, before)

    def tidy(self, now: float) -> None:
        """Forget what is too much, and some of what is too old: nobody waits for all that has become so since."""
        while self.bytes > self.max_bytes:
            self._forget_oldest()
        for _ in range(TIDIED_ROWS):
            if not self.answers or now - next(iter(self.answers.values()))[0] <= self.max_age_s:
                return
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self.bytes -= self._size(*self.answers.popitem(last=False))

    def _size(self, key: Key, answer: Answer) -> int:
        size = self.row_bytes
        if type(key) is str:
            size += _text_bytes(key)
        elif type(key) is tuple:
            size += sum(_text_bytes(text) for text in key if type(text) is str)
        if self.has_texts:
            size += sum(len(text) for values in answer[4] if type(values) is tuple for text in values)
        return size


class _Place(NamedTuple):
    """Where the answers of a target are, and the places of its key columns in the order of their names."""

    shelf: _Shelf
    columns: tuple[int, ...]


class LastAnswers:
    """Remembers what the versions of a route have answered, row by row, for ladders that ask for it.

    All together take `max_bytes`, in equal parts for each endpoint that has such a step; the oldest go first. They are of
    this process, and forgotten with the endpoint, or with its keys, its outputs or its model.
    """

    def __init__(self, max_bytes: int, now: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._now = now
        self._log_id = ""
        self._shelves: list[_Shelf] = []
        self._places: Mapping[tuple[str, Target], _Place] = {}
        names.LAST_ANSWERS.set_function(lambda: self.rows)
        names.LAST_ANSWER_BYTES.set_function(lambda: self.bytes)

    @property
    def rows(self) -> int:
        """How many rows are remembered."""
        return sum(len(shelf.answers) for shelf in self._shelves)

    @property
    def bytes(self) -> int:
        """How much memory they take, about."""
        return sum(shelf.bytes for shelf in self._shelves)

    def use(self, table: RoutingTable) -> None:
        """Remember for the ladders of `table`; another log names other endpoints alike."""
        known = {shelf.kind: shelf for shelf in self._shelves} if table.log_id == self._log_id else {}
        self._log_id = table.log_id
        wanted = {(name, target): (_kind(name, target), age) for name, target, age in _remembering(table)}
        shelves = {kind: known.get(kind) or _shelf(kind, at[1]) for at, (kind, _) in wanted.items()}
        for kind, age in wanted.values():
            shelves[kind].max_age_s = age
            shelves[kind].max_bytes = self._max_bytes // len(shelves)
        self._shelves = list(shelves.values())
        self._places = {at: _Place(shelves[kind], _columns(at[1])) for at, (kind, _) in wanted.items()}
        now = self._now()
        for shelf in self._shelves:
            shelf.tidy(now)

    def remember(self, endpoint: str, target: Target, keys: Keys, as_of_us: int, outcome: Outcome) -> None:
        """Keep copies of the rows that were answered without an error; `keys` are the target's columns."""
        place = self._places.get((endpoint, target))
        if place is None:
            return
        shelf, now, errors = place.shelf, self._now(), outcome.row_errors
        rows = zip(*map(_by_row, outcome.outputs), strict=True)
        for row, (key, values) in enumerate(zip(_keys(keys, place.columns), rows, strict=True)):
            if row not in errors:
                shelf.put(key, (now, as_of_us, target.version, outcome.runtime, values))
        shelf.tidy(now)

    def find(
        self, endpoint: str, target: Target, keys: Keys, rows: Sequence[int], as_of_us: int, max_age_s: float
    ) -> Found:
        """Return the last answers for some rows of a request, at most so old.

        An answer is as old as the time since it was made; and it counts only if the as_of that it was made for is no farther
        from the request's, before or after: what was asked about another time is no answer.
        """
        place = self._places.get((endpoint, target))
        by_row = list(_keys(keys, place.columns)) if place is not None else []
        now = self._now()
        answers: list[Answer] = []
        found: list[int] = []
        errors: dict[int, MeshError] = {}
        for index, row in enumerate(rows):
            answer = place.shelf.answers.get(by_row[row]) if place is not None else None
            error = _unusable(answer, now, as_of_us, max_age_s)
            if error is not None:
                errors[index] = error
            elif answer is not None:
                found.append(index)
                answers.append(answer)
        outputs = [
            _array([answer[4][number] for answer in answers], spec, found, len(rows))
            for number, spec in enumerate(target.outputs)
        ]
        if not answers:
            return Found(Outcome(outputs, errors, [], [], ""))
        oldest, _, version, runtime, _ = min(answers, key=itemgetter(0))
        outcome = Outcome(outputs, errors, [], [], runtime)
        same = all(answer[2] == version for answer in answers)
        return Found(outcome, version if same else "", int((now - oldest) * 1000))


def _remembering(table: RoutingTable) -> Iterable[tuple[str, Target, float]]:
    """Return the targets whose answers are asked for, by endpoint, and for how long."""
    for endpoint in table.endpoints.values():
        for target, steps in endpoint.fallbacks.items():
            for step in steps:
                if isinstance(step, LastAnswerStep):
                    yield endpoint.name, target, step.max_age_s


def _kind(endpoint: str, target: Target) -> _Kind:
    return _Kind(
        endpoint,
        target.model,
        tuple(sorted((key.name, key.is_int) for key in target.keys)),
        tuple((output.name, output.dtype.name, output.shape) for output in target.outputs),
    )


def _shelf(kind: _Kind, target: Target) -> _Shelf:
    texts = [spec.width for spec in target.outputs if spec.dtype.value is None]
    numbers = [np.dtype(spec.dtype.numpy).itemsize * spec.width for spec in target.outputs if spec.dtype.value]
    # Several key columns are a tuple, which is one more.
    objects = sum(texts) + len(target.outputs) - 1 + (len(target.keys) if len(target.keys) > 1 else 0)
    return _Shelf(kind, ROW_BYTES + sum(numbers) + OBJECT_BYTES * objects, bool(texts))


def _text_bytes(text: str) -> int:
    """Return what the letters of a text take at most."""
    return len(text) if text.isascii() else 4 * len(text)


def _columns(target: Target) -> tuple[int, ...]:
    return tuple(sorted(range(len(target.keys)), key=lambda place: target.keys[place].name))


def _keys(keys: Keys, columns: Sequence[int]) -> Iterable[Key]:
    """Return the key of each row."""
    if len(columns) == 1:
        return keys[0]
    return zip(*(keys[place] for place in columns), strict=True)


def _by_row(output: Array) -> Sequence[bytes | tuple[bytes, ...]]:
    """Return copies of an output's rows: slices would keep the whole batch's answer."""
    if output.dtype == object:
        return [tuple(row) for row in cast("list[list[bytes]]", output.tolist())]
    packed = output.tobytes()
    size = len(packed) // len(output)
    return [packed[start : start + size] for start in range(0, len(packed), size)]


def _unusable(answer: Answer | None, now: float, as_of_us: int, max_age_s: float) -> MeshError | None:
    """Return why an answer cannot stand in for another one."""
    if answer is None:
        return NoLastAnswer("no answer is remembered for these keys")
    made, made_for_us = answer[:2]
    age_s = now - made
    if age_s > max_age_s:
        return NoLastAnswer(f"the last answer is {age_s:.0f} s old, more than {max_age_s:g} s")
    if abs(as_of_us - made_for_us) > max_age_s * 1e6:
        return NoLastAnswer(f"the last answer was made for an as_of more than {max_age_s:g} s off")
    return None


def _array(
    values: Sequence[bytes | tuple[bytes, ...]], spec: Output, places: Sequence[int], rows: int
) -> npt.NDArray[np.generic]:
    """Return an output [rows, width] with the rows that are there at their places."""
    array = zeros(spec.dtype, rows * spec.width).reshape(rows, spec.width)
    if spec.dtype.value is None:
        for place, elements in zip(places, values, strict=True):
            array[place] = elements
    elif places:
        packed = b"".join(cast("Sequence[bytes]", values))
        array[places] = np.frombuffer(packed, spec.dtype.numpy).reshape(-1, spec.width)
    return array
