"""Everybody gets his own of a batch, and nothing of the others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.lane import Lane
from services.gateway.prediction import (
    NOT_STORED,
    Degradation,
    DegradationReason,
    FeatureState,
    Inference,
    Outcome,
    RuntimeSource,
)
from services.gateway.request import Column, Member
from services.gateway.slices import explanation_of, outcome_of, sliced, starts
from services.mesh.errors import Code, MeshError, Reason
from tests.support.predictions import (
    BROKEN,
    ELSEWHERE,
    LATE,
    POISON,
    MemoryFeatures,
    MemoryModel,
    StoredRow,
    column,
    comparable,
    feature_rows,
    member,
    target,
    view,
)

RIDER = view("rider", "a:FP32", "n:INT64", "t:BYTES:2")
CITY = view("city", "p:FP32", rider_id="STRING", city_id="STRING")
AIM = target(
    {
        "x:FP32:4": ["rider:a", "rider.age", "hour", "city:p"],
        "n:INT64:2": ["rider:n", "seats"],
        "t:BYTES:2": ["rider:t"],
        "u:BYTES": ["mark"],
        "r:FP64": ["weight"],
    },
    RIDER,
    CITY,
    outputs=("y:FP32:2", "echo:BYTES", "k:INT64"),
)
SMALL = target({"x:FP32": ["rider:a"]}, view("rider", "a:FP32"), outputs=("y:FP32", "word:BYTES", "flag:BOOL"))


def inferred(rows: int, failed: dict[int, int] | None = None) -> Inference:
    """Return an answer of row numbers."""
    words = np.array([[b"%d" % row] for row in range(rows)], dtype=object)
    numbers = np.arange(rows, dtype="<f4").reshape(rows, 1)
    return Inference([numbers, words, np.ones((rows, 1), np.bool_)], failed or {}, (RuntimeSource("onnx"),))


def three_of(*rows: StoredRow, failed: dict[int, int] | None = None) -> list[Outcome | MeshError]:
    """Return the outcomes of members of 2, 1 and 3 rows."""
    members = [member(SMALL, column("rider_id", *"abc"[:count])) for count in (2, 1, 3)]
    features = feature_rows(SMALL, list(rows) or [StoredRow()] * 6)
    inference = inferred(6, failed)
    return [
        outcome_of(SMALL, each, start, features, inference, start)
        for each, start in zip(members, starts(members), strict=True)
    ]


def answered(*rows: StoredRow, failed: dict[int, int] | None = None) -> list[Outcome]:
    """Return the outcomes of members of 2, 1 and 3 rows, each of which got an answer."""
    return [outcome for outcome in three_of(*rows, failed=failed) if isinstance(outcome, Outcome)]


async def test_rows_of_outputs() -> None:
    """Each member gets its rows."""
    outcomes = answered()
    assert [[[0], [1]], [[2]], [[3], [4], [5]]] == [outcome.outputs[0].tolist() for outcome in outcomes]


async def test_ages_go_to_their_rows() -> None:
    """Ages are the member's own, and nothing stored is said as such."""
    ages = [10, 20, NOT_STORED, 40, -5, 60]
    outcomes = answered(*(StoredRow(ages_us={"rider": age}) for age in ages))
    assert [[10, 20], [NOT_STORED], [40, -5, 60]] == [outcome.ages_us for outcome in outcomes]


async def test_rows_in_error_hold_zeros() -> None:
    """Whoever ignores row_errors reads no value that the model made of a row that failed; others keep theirs."""
    stale = StoredRow(states={"rider": FeatureState.STALE_REJECTED})
    first, second, third = answered(
        StoredRow(), stale, StoredRow(), StoredRow(), StoredRow(), StoredRow(), failed={5: 13}
    )
    assert [[[0], [0]], [[b"0"], [b""]], [[True], [False]]] == [output.tolist() for output in first.outputs]
    assert [[3], [4], [0]] == third.outputs[0].tolist()
    assert {1: Reason.STALE_FEATURE} == {row: error.reason for row, error in first.row_errors.items()}
    assert {2: Reason.RUNTIME_FAILED} == {row: error.reason for row, error in third.row_errors.items()}
    assert {} == second.row_errors


async def test_zeros_for_one_do_not_reach_the_other() -> None:
    """The rows of a batch are shared; blanking them for one member leaves the batch as it is."""
    inference = inferred(2, {0: 13})
    members = [member(SMALL, column("rider_id", "a", "b")) for _ in range(2)]
    features = feature_rows(SMALL, [StoredRow()] * 2)
    for each in members:
        outcome_of(SMALL, each, 0, features, inference, 0)
    assert [[0], [1]] == inference.outputs[0].tolist()
    assert [[b"0"], [b"1"]] == inference.outputs[1].tolist()


async def test_all_rows_failed() -> None:
    """A member whose rows all failed gets the error of its first row; the others get their answers."""
    first, second, third = three_of(failed={0: int(Code.DEADLINE_EXCEEDED), 1: 13, 3: 13})
    assert isinstance(first, MeshError)
    assert Reason.DEADLINE_EXCEEDED is first.reason
    assert isinstance(second, Outcome)
    assert isinstance(third, Outcome)
    assert [0] == list(third.row_errors)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED),
        (Code.RESOURCE_EXHAUSTED, Reason.OVERLOADED),
        (Code.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE),
        (Code.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT),
        (Code.INTERNAL, Reason.RUNTIME_FAILED),
    ],
)
async def test_what_the_model_service_says_of_a_row_keeps_its_meaning(code: Code, reason: Reason) -> None:
    """Who sheds load is not told that the model failed."""
    _, failed, _ = three_of(failed={2: int(code)})
    assert isinstance(failed, MeshError)
    assert (code, reason) == (failed.code, failed.reason)


async def test_degradations() -> None:
    """What is not fresh is told by view and state, with its rows; all rows are told as none. A rejected row is an error."""
    absent = StoredRow(states={"rider": FeatureState.ABSENT})
    ahead = StoredRow(states={"rider": FeatureState.AHEAD})
    outcomes = answered(absent, absent, StoredRow(), ahead, StoredRow(), absent)
    told = [[(found.reason, found.subject, found.rows) for found in outcome.degradations] for outcome in outcomes]
    assert [(DegradationReason.FEATURE_ABSENT, "rider", [])] == told[0]
    assert [] == told[1]
    assert [
        (DegradationReason.FEATURE_AHEAD, "rider", [0]),
        (DegradationReason.FEATURE_ABSENT, "rider", [2]),
    ] == told[2]


RIDERS = frozenset({"rider"})


async def test_rows_that_the_store_did_not_answer_for() -> None:
    """They are told with their view, beside what else is not fresh; of what is not known nobody says that it is absent."""
    known = StoredRow(unreached=RIDERS)
    stale = StoredRow(states={"rider": FeatureState.STALE_SERVED}, unreached=RIDERS)
    unknown = StoredRow(states={"rider": FeatureState.ABSENT}, unreached=RIDERS)
    rejected = StoredRow(states={"rider": FeatureState.STALE_REJECTED}, unreached=RIDERS)
    outcomes = answered(known, unknown, StoredRow(), stale, StoredRow(), rejected)
    told = [[(found.reason, found.subject, found.rows) for found in outcome.degradations] for outcome in outcomes]
    assert [(DegradationReason.STORE_UNREACHABLE, "rider", [])] == told[0]
    assert [] == told[1]
    assert [
        (DegradationReason.FEATURE_STALE_SERVED, "rider", [0]),
        (DegradationReason.STORE_UNREACHABLE, "rider", [0]),
    ] == told[2]
    assert {2: Reason.STORE_UNAVAILABLE} == {row: error.reason for row, error in outcomes[2].row_errors.items()}


FAILED = RuntimeSource("onnx", DegradationReason.RUNTIME_FAILED, "triton")
FULL = RuntimeSource("oip", DegradationReason.RUNTIME_SATURATED, "triton")


async def test_runtime_of_all() -> None:
    """Where one source computed the batch, every member has its runtime, and its reason for all rows."""
    inference = replace(inferred(6), sources=(FAILED,))
    outcome = outcome_of(SMALL, member(SMALL, column("rider_id", "a", "b")), 2, None, inference, 2)
    assert isinstance(outcome, Outcome)
    assert "onnx" == outcome.runtime
    assert [Degradation(DegradationReason.RUNTIME_FAILED, "triton", [])] == outcome.degradations


@pytest.mark.parametrize(
    ("first", "rows", "runtime", "told"),
    [
        (0, 2, "triton", []),
        (2, 2, "onnx", [(DegradationReason.RUNTIME_FAILED, [])]),
        (1, 3, "triton", [(DegradationReason.RUNTIME_FAILED, [1, 2])]),
        (3, 3, "onnx", [(DegradationReason.RUNTIME_FAILED, [0]), (DegradationReason.RUNTIME_SATURATED, [1, 2])]),
    ],
)
async def test_runtimes_by_row(
    first: int, rows: int, runtime: str, told: list[tuple[DegradationReason, list[int]]]
) -> None:
    """A member has the runtime of its first row, and hears of those that stood in for its own rows."""
    sources = (RuntimeSource("triton"), FAILED, FULL)
    inference = replace(inferred(6), sources=sources, row_source=np.array([0, 0, 1, 1, 2, 2], np.uint8))
    aim = member(SMALL, column("rider_id", *"abcdef"[:rows]))
    outcome = outcome_of(SMALL, aim, first, None, inference, first)
    assert isinstance(outcome, Outcome)
    assert runtime == outcome.runtime
    assert [Degradation(reason, "triton", rows) for reason, rows in told] == outcome.degradations


async def test_row_that_nobody_computed() -> None:
    """A row that failed has no runtime, though the model service has to say something of it."""
    inference = replace(inferred(3, {0: 4, 1: 4}), sources=(FAILED, RuntimeSource("triton")))
    inference.row_source = np.array([0, 0, 1], np.uint8)
    outcome = outcome_of(SMALL, member(SMALL, column("rider_id", *"abc")), 0, None, inference, 0)
    assert isinstance(outcome, Outcome)
    assert ("triton", []) == (outcome.runtime, outcome.degradations)


async def test_stale_features_and_a_fallback_are_both_told() -> None:
    """One does not hide the other."""
    features = feature_rows(SMALL, [StoredRow(states={"rider": FeatureState.AHEAD})])
    outcome = outcome_of(
        SMALL, member(SMALL, column("rider_id", "a")), 0, features, replace(inferred(1), sources=(FAILED,)), 0
    )
    assert isinstance(outcome, Outcome)
    assert [DegradationReason.FEATURE_AHEAD, DegradationReason.RUNTIME_FAILED] == [
        found.reason for found in outcome.degradations
    ]


async def test_what_the_request_brings_is_not_degraded() -> None:
    """A view whose every value the request brings was not read, so it cannot have been absent."""
    absent = StoredRow(ages_us={"rider": NOT_STORED}, states={"rider": FeatureState.ABSENT})
    brings = member(SMALL, column("rider_id", "a", "b"), features=[column("rider:a", 1.0, 0.0, nulls=[1])])
    outcome = outcome_of(SMALL, brings, 0, feature_rows(SMALL, [absent, absent]), inferred(2), 0)
    assert isinstance(outcome, Outcome)
    assert [[1]] == [found.rows for found in outcome.degradations]


async def test_explanation_is_of_the_member() -> None:
    """Values, origins and statuses of the member's rows, and which of them the request brought."""
    rows = [StoredRow({"rider:a": float(row)}) for row in range(3)]
    rows[2].states["rider"] = FeatureState.ABSENT
    features = feature_rows(SMALL, rows, want_origins=True)
    brings = member(SMALL, column("rider_id", "b", "c"), features=[column("rider:a", 7.0, 0.0, nulls=[1])])
    explained = explanation_of(SMALL, brings, 1, features, features.tensors)
    assert [[1], [2]] == explained.arrays[0].tolist()
    assert [bytes([1, 2])] == explained.origins
    assert [(1, 0, FeatureState.ABSENT)] == explained.statuses
    assert {(0, 0, 0)} == explained.from_request


values = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)
states = st.sampled_from([None, *FeatureState])


@st.composite
def stored_rows(draw: st.DrawFn) -> StoredRow:
    """Return anything that can be stored under a key."""
    found = StoredRow(
        {
            "rider:a": draw(st.none() | values),
            "rider:n": draw(st.none() | st.integers(-(2**40), 2**40)),
            "rider:t": draw(st.none() | st.lists(st.binary(max_size=3), min_size=2, max_size=2)),
            "city:p": draw(st.none() | values),
        }
    )
    for name in ("rider", "city"):
        state = draw(states)
        if state is not None:
            found.states[name] = state
        found.ages_us[name] = NOT_STORED if state is FeatureState.ABSENT else draw(st.integers(-(10**9), 10**12))
    return found


def brought(draw: st.DrawFn, name: str, rows: int, one: st.SearchStrategy[Any], width: int = 1) -> Column:
    """Return a column of the request, some rows of it null."""
    nulls = draw(st.lists(st.integers(0, rows - 1), unique=True).map(sorted)) if draw(st.booleans()) else []
    return column(name, *draw(st.lists(one, min_size=rows * width, max_size=rows * width)), nulls=nulls)


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[Column], list[Column], bool]:
    """Return a request of one to four rows: its keys, its features, and whether it wants an explanation."""
    rows = draw(st.integers(1, 4))
    keys = draw(st.lists(st.sampled_from("abcdef"), min_size=rows, max_size=rows))
    marks = st.sampled_from([b"", b"", b"", b"m", LATE, BROKEN, POISON, ELSEWHERE])
    features = [
        brought(draw, "hour", rows, values),
        brought(draw, "seats", rows, st.integers(-9, 9)),
        brought(draw, "mark", rows, marks),
        brought(draw, "weight", rows, values),
    ]
    optional = {
        "rider:a": (values, 1),
        "rider:n": (st.integers(-9, 9), 1),
        "rider:t": (st.binary(max_size=3), 2),
        "city:p": (values, 1),
    }
    for name in draw(st.sets(st.sampled_from(sorted(optional)))):
        one, width = optional[name]
        features.append(brought(draw, name, rows, one, width))
    return [column("rider_id", *keys), column("city_id", *keys)], features, draw(st.booleans())


async def answers(rows: dict[object, StoredRow], members: list[Member]) -> list[object]:
    """Return what each member gets, all of them in one batch."""
    features, model = MemoryFeatures(rows), MemoryModel()
    lane = Lane(AIM, features, model, max_rows=256, max_queued_rows=1000)
    outcomes = await asyncio.gather(*(lane.answer(each) for each in members), return_exceptions=True)
    assert 1 == len(features.calls), "they did not travel together"
    return [comparable(outcome) for outcome in outcomes]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({key: stored_rows() for key in "abcdef"}), st.lists(requests(), min_size=2, max_size=4))
def test_in_a_batch_as_alone(
    rows: dict[object, StoredRow], asked: list[tuple[list[Column], list[Column], bool]]
) -> None:
    """Whoever travels along, and whatever befalls him, an outcome is the one that the request would have had alone."""

    def members() -> list[Member]:
        return [member(AIM, *keys, features=features, explain=explain) for keys, features, explain in asked]

    async def check() -> None:
        together = await answers(rows, members())
        alone = [(await answers(rows, [each]))[0] for each in members()]
        assert alone == together

    asyncio.run(check())


@pytest.mark.parametrize(("start", "count"), [(0, 1), (1, 2), (0, 3)])
def test_slice_is_what_the_rows_alone_would_have_got(start: int, count: int) -> None:
    """A slice of the feature service's answer is its answer to those rows."""
    rows = [
        StoredRow(
            {"rider:a": float(row), "rider:n": None, "rider:t": [b"%d" % row, b""]},
            {"rider": row, "city": row},
            {"city": FeatureState.AHEAD},
            frozenset({"rider"} if row != 1 else {"city"}),
        )
        for row in range(3)
    ]
    whole = feature_rows(AIM, rows, want_origins=True)
    part = sliced(AIM, whole, start, count)
    alone = feature_rows(AIM, rows[start : start + count], want_origins=True)
    assert alone.tensors == part.tensors
    assert alone.ages_us.tolist() == part.ages_us.tolist()
    assert (alone.statuses, sorted(alone.missing), alone.origins) == (part.statuses, sorted(part.missing), part.origins)
    assert alone.unreached == {view: rows for view, rows in part.unreached.items() if rows}
