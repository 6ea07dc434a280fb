"""Last answers: for whom they are remembered, for how long, and in how much memory."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from predictmesh.registry.v1.endpoint_pb2 import Fallback
from services.gateway.convert_snapshot import TableBuilder
from services.gateway.errors import RuntimeFailed
from services.gateway.ladder.last_answers import OBJECT_BYTES, ROW_BYTES, TIDIED_ROWS, Found, LastAnswers
from services.gateway.prediction import Outcome
from services.gateway.routing import RoutingTable
from services.gateway.target import DType, Output, Target
from tests.support.predictions import endpoint, snapshot, version, view

RIDER = view("rider", "a:FP32")
PAIR = view("pair", "a:FP32", z_id="STRING", b_id="INT64")
RIDERS, PAIRS = {"x:FP32": ["rider:a"]}, {"x:FP32": ["pair:a"]}
MINUTE = Fallback(last_answer_max_age_ms=60_000)
AS_OF_US = 1_700_000_000_000_000


def table(
    bound: Mapping[str, Sequence[str]] = RIDERS,
    outputs: Sequence[str] = ("y:FP32",),
    *,
    names: Sequence[str] = ("m",),
    fallback: Fallback = MINUTE,
    log_id: str = "log",
    other: Mapping[str, Sequence[str]] | None = None,
) -> RoutingTable:
    """Definitions of endpoints whose route leads to 1.0.0 and 2.0.0, which is bound as the `other` says."""
    versions = [
        version(bound, outputs, number="1.0.0", digest=f"{bound} {outputs}"),
        version(other or bound, outputs, number="2.0.0", digest=f"{other} {outputs} 2"),
    ]
    route = [("1.0.0", 50.0), ("2.0.0", 50.0)]
    made = snapshot(
        RIDER, PAIR, versions=versions, endpoints=[endpoint(route, name, fallbacks=[fallback]) for name in names]
    )
    made.log_id = log_id
    return TableBuilder().build(made)


class Remembering:
    """Last answers of one number a row, on a clock of their own."""

    def __init__(self, made: RoutingTable | None = None, max_bytes: int = 1_000_000) -> None:
        self.now = 1_000.0
        self.answers = LastAnswers(max_bytes, lambda: self.now)
        self.use(made or table())

    def use(self, made: RoutingTable) -> None:
        self.table = made
        self.answers.use(made)

    def target(self, number: str = "1.0.0", name: str = "m") -> Target:
        return self.table.endpoint(name).versions.targets[number]

    def remember(self, answers: Mapping[Any, float], *, number: str = "1.0.0", name: str = "m", **parts: Any) -> None:
        """Remember scores by key."""
        scores = np.array([[score] for score in answers.values()], np.float32)
        self.put(list(answers), [scores], number=number, name=name, **parts)

    def put(
        self,
        keys: Sequence[Any],
        outputs: list[Any],
        *,
        number: str = "1.0.0",
        name: str = "m",
        as_of_us: int = AS_OF_US,
        failed: Sequence[int] = (),
    ) -> None:
        outcome = Outcome(outputs, {row: RuntimeFailed("") for row in failed}, [], [], "onnx")
        self.answers.remember(name, self.target(number, name), _columns(keys), as_of_us, outcome)

    def find(
        self, *keys: Any, number: str = "1.0.0", name: str = "m", as_of_us: int = AS_OF_US, max_age_s: float = 60
    ) -> Found:
        rows = range(len(keys))
        return self.answers.find(name, self.target(number, name), _columns(keys), rows, as_of_us, max_age_s)

    def found(self, *keys: Any, **parts: Any) -> list[float | None]:
        """Return the score of each key, None where nothing is found."""
        outcome = self.find(*keys, **parts).outcome
        scores = outcome.outputs[0][:, 0].tolist()
        return [None if row in outcome.row_errors else score for row, score in enumerate(scores)]


def _columns(keys: Sequence[Any]) -> list[Any]:
    """Return keys as columns; a key of several columns is a tuple."""
    return [list(column) for column in zip(*(key if isinstance(key, tuple) else (key,) for key in keys), strict=True)]


def test_last_answer_is_found_by_its_keys() -> None:
    """Rows are remembered one by one, whoever asked for them together."""
    made = Remembering()
    made.remember({"a": 1.0, "b": 2.0})
    made.now += 2
    made.remember({"b": 3.0}, number="2.0.0")
    assert [3.0, None, 1.0] == made.found("b", "c", "a")
    found = made.find("a")
    assert ("1.0.0", 2_000, "onnx") == (found.version, found.age_ms, found.outcome.runtime)
    # Several have made them, so that no one is named; the oldest counts.
    assert ("", 2_000) == (made.find("b", "a").version, made.find("b", "a").age_ms)
    nothing = made.find("c")
    assert ("", None) == (nothing.version, nothing.age_ms)
    assert "no answer is remembered" in str(nothing.outcome.row_errors[0])


def test_failed_rows_leave_the_answer_before() -> None:
    """What stands in the place of a failed row is no answer."""
    made = Remembering()
    made.remember({"a": 1.0, "b": 2.0})
    made.remember({"a": 0.0, "b": 5.0}, failed=[0])
    assert [1.0, 5.0] == made.found("a", "b")


def test_only_so_old() -> None:
    """By the time since the answer was made."""
    made = Remembering()
    made.remember({"a": 1.0})
    made.now += 60
    assert [1.0] == made.found("a")
    made.now += 1
    assert [None] == made.found("a")
    assert "61 s old, more than 60 s" in str(made.find("a").outcome.row_errors[0])


@pytest.mark.parametrize(("off_s", "found"), [(60, 1.0), (-60, 1.0), (61, None), (-61, None)])
def test_answer_about_another_time_is_none(off_s: int, found: float | None) -> None:
    """Who asks about yesterday leaves nothing to those who ask about now, nor the other way round."""
    made = Remembering()
    made.remember({"a": 1.0}, as_of_us=AS_OF_US + off_s * 1_000_000)
    assert [found] == made.found("a")


def test_versions_of_a_route_share_their_answers() -> None:
    """Even where the versions read their views in another order: keys are known by name."""
    both = view("other", "c:FP32", b_id="INT64")
    versions = [
        version({"x:FP32": ["pair:a"], "c:FP32": ["other:c"]}, number="1.0.0", digest="1"),
        version({"c:FP32": ["other:c"], "x:FP32": ["pair:a"]}, number="2.0.0", digest="2"),
    ]
    at = endpoint([("1.0.0", 50.0), ("2.0.0", 50.0)], fallbacks=[MINUTE])
    made = Remembering(TableBuilder().build(snapshot(PAIR, both, versions=versions, endpoints=[at])))
    assert [key.name for key in made.target().keys] != [key.name for key in made.target("2.0.0").keys]
    made.remember({("z", 7): 1.0})
    assert [1.0] == made.found((7, "z"), number="2.0.0")


def test_keys_of_several_columns() -> None:
    """All of them count."""
    made = Remembering(table(PAIRS))
    made.remember({("z", 7): 1.0, ("z", 8): 2.0, ("y", 7): 3.0})
    assert [2.0, 3.0, None] == made.found(("z", 8), ("y", 7), ("y", 8))


def test_outputs_of_all_kinds() -> None:
    """Texts, several elements a row, and numbers too large for others come back as they were."""
    outputs = ("text:BYTES:2", "big:UINT64", "flag:BOOL", "half:FP16:3")
    made = Remembering(table(outputs=outputs))
    texts = np.empty((2, 2), object)
    texts[:] = [[b"", b"nul\x00"], [b"\xff", b"long" * 50]]
    arrays = [
        texts,
        np.array([[2**64 - 1], [0]], np.uint64),
        np.array([[True], [False]]),
        np.array([[1, np.nan, np.inf], [4, 5, 6]], np.float16),
    ]
    made.put(["a", "b"], arrays)
    found = made.find("b", "nobody", "a").outcome
    assert {1} == found.row_errors.keys()
    for expected, output in zip(arrays, found.outputs, strict=True):
        assert expected.dtype == output.dtype
        assert repr(expected[[1, 0]].tolist()) == repr(output[[0, 2]].tolist())
    # Of four outputs, one of two texts.
    least = 2 * (ROW_BYTES + 5 * OBJECT_BYTES)
    assert least < made.answers.bytes < least + 300


def test_no_batch_stays_in_memory() -> None:
    """An answer is a slice of everybody's; only its own values are kept."""
    made = Remembering()
    batch = np.ones((100_000, 1), np.float32)
    gone = weakref.ref(batch)
    made.put(["a"], [batch[5:6]])
    del batch
    gc.collect()
    assert gone() is None
    assert [1.0] == made.found("a")


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    """What is answered again is young again."""
    made = Remembering(max_bytes=100 * (ROW_BYTES + 4 + 3))
    for number in range(100):
        made.remember({f"{number:03}": float(number)})
    assert (100, 100 * (ROW_BYTES + 4 + 3)) == (made.answers.rows, made.answers.bytes)
    made.remember({"000": 0.5, "100": 100.0, "101": 101.0})
    assert [0.5, None, None, 3.0, 100.0, 101.0] == made.found("000", "001", "002", "003", "100", "101")
    assert 100 == made.answers.rows


def test_what_is_forgotten_takes_no_memory() -> None:
    """However often answers of other lengths take each other's place."""
    made = Remembering(table(outputs=("text:BYTES",)), max_bytes=3_000)
    for size in (0, 900, 5, 2_500, 40_000, 1):
        text = np.empty((1, 1), object)
        text[0, 0] = b"x" * size
        for key in ("a", "b"):
            made.put([key], [text])
            assert made.answers.bytes <= 3_000
    assert (2, 2 * (ROW_BYTES + OBJECT_BYTES + 2)) == (made.answers.rows, made.answers.bytes)


@pytest.mark.parametrize(
    ("bound", "outputs", "key"),
    [
        (RIDERS, ["y:FP32"], "rider-{:06}"),
        (RIDERS, ["y:FP32"], "\N{GRINNING FACE}" * 50 + "{:06}"),
        (RIDERS, [f"y{number}:FP32" for number in range(12)], "rider-{:06}"),
        (RIDERS, ["y:FP64:50"], "rider-{:06}"),
        (RIDERS, ["y:BYTES:20"], "rider-{:06}"),
        (PAIRS, ["y:FP32"], "pair-{:06}"),
    ],
    ids=["number", "wide letters", "many outputs", "wide output", "texts", "several key columns"],
)
def test_memory_is_told_as_it_is(bound: Mapping[str, Sequence[str]], outputs: Sequence[str], key: str) -> None:
    """Of whatever keys and outputs the answers are; rather too much than too little."""
    made = Remembering(table(bound, outputs), max_bytes=2**30)
    rows = 2_000
    keys: list[Any] = [key.format(row) for row in range(rows)]
    if bound is PAIRS:
        keys = [(row + 2**40, text) for row, text in enumerate(keys)]
    target = made.target()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for row in range(rows):
            made.now += 0.001
            columns = _columns([_copied(keys[row])])
            arrays = [_answers(spec, row) for spec in target.outputs]
            made.answers.remember("m", target, columns, AS_OF_US + row, Outcome(arrays, {}, [], [], "onnx"))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert rows == made.answers.rows
    assert taken < made.answers.bytes < 1.5 * taken


def _copied(key: Any) -> Any:
    """Return an equal key that shares nothing, as one that comes with a request."""
    if isinstance(key, tuple):
        return tuple(map(_copied, key))
    return f"{key} "[:-1] if isinstance(key, str) else int(str(key))


def _answers(spec: Output, row: int) -> Any:
    if spec.dtype is not DType.BYTES:
        return np.ones((1, spec.width), spec.dtype.numpy)
    texts = [f"text {row + number}".encode() for number in range(spec.width)]
    return np.array(texts, object).reshape(1, spec.width)


def test_no_memory() -> None:
    """Then nothing is remembered."""
    made = Remembering(max_bytes=0)
    made.remember({"a": 1.0})
    assert ([None], 0) == (made.found("a"), made.answers.bytes)


def test_expired_answers_make_room_little_by_little() -> None:
    """Nobody's request waits for all of them to be forgotten."""
    made = Remembering()
    made.remember({f"{number}": 0.0 for number in range(256)})
    made.now += 61
    made.remember({"new": 1.0})
    assert 257 - TIDIED_ROWS == made.answers.rows
    for _ in range(4):
        made.remember({"new": 1.0})
    assert 1 == made.answers.rows


def test_endpoints_have_equal_parts_and_their_own_answers() -> None:
    """A busy endpoint takes nothing of another one's."""
    size = ROW_BYTES + 4 + 2
    made = Remembering(table(names=("m", "n")), max_bytes=20 * size)
    made.remember({"00": 1.0})
    for number in range(50):
        made.remember({f"{number:02}": 2.0}, name="n")
    assert (11, [1.0], [None]) == (made.answers.rows, made.found("00"), made.found("00", name="n"))
    made.use(table(names=("n",)))
    for number in range(50):
        made.remember({f"{number:02}": 2.0}, name="n")
    assert 20 == made.answers.rows


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        (table(), True),
        (table(fallback=Fallback(last_answer_max_age_ms=5_000)), True),
        (table(names=("n",)), False),
        (table(outputs=("y:FP32:1",)), False),
        (table(outputs=("y:FP64",)), False),
        (table(outputs=("z:FP32",)), False),
        (table(PAIRS), False),
        (table(log_id="another"), False),
        (table(fallback=Fallback(version="1.0.0")), False),
    ],
)
def test_what_a_change_forgets(after: RoutingTable, kept: bool) -> None:
    """Answers of an endpoint that is gone, has other keys or outputs, or is of another registry; nothing comes back."""
    made = Remembering()
    made.remember({"a": 1.0})
    made.use(after)
    assert kept == (made.answers.rows == 1)
    made.use(table())
    assert [1.0 if kept else None] == made.found("a")


def test_request_by_a_table_that_is_gone() -> None:
    """What was routed before the endpoint went leaves nothing, and finds nothing."""
    made = Remembering()
    target = made.target()
    made.answers.use(table(names=("n",)))
    outcome = Outcome([np.ones((1, 1), np.float32)], {}, [], [], "onnx")
    made.answers.remember("m", target, [["a"]], AS_OF_US, outcome)
    assert 0 == made.answers.rows
    assert {0} == made.answers.find("m", target, [["a"]], [0], AS_OF_US, 60).outcome.row_errors.keys()


def test_shorter_age_is_kept_to_at_once() -> None:
    """Also for answers that were remembered under a longer one."""
    made = Remembering()
    made.remember({"a": 1.0})
    made.now += 6
    made.use(table(fallback=Fallback(last_answer_max_age_ms=5_000)))
    assert 0 == made.answers.rows
