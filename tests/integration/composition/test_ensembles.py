"""Ensembles against a naive computation: every method, types, shapes, ties, and members that are left out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio

from services.model.datatypes import Array
from tests.worlds.compositions import Compositions, degraded, output, path
from tests.worlds.failures import failure, status_failure
from tests.worlds.graphs import ensemble, graph, node

ROWS = 40
WEIGHTS = (0.5, 0.25, 3.0)
NAMES = ("a", "b", "c")


def most_frequent(members: Sequence[Array], row: int) -> object:
    """The label that most say; of equally many the one that is said first."""
    said = [member[row] for member in members]
    counts = Counter(said)
    return next(label for label in said if counts[label] == max(counts.values()))


def mean(members: Sequence[Array], row: int) -> Array:
    """The mean of each element."""
    return np.asarray(np.mean([member[row].astype(np.float64) for member in members], axis=0)).astype(members[0].dtype)


def weighted_mean(members: Sequence[Array], row: int) -> Array:
    """The mean by weight of each element."""
    said = [member[row].astype(np.float64) for member in members]
    total = sum(weight * each for weight, each in zip(WEIGHTS, said, strict=True))
    return np.asarray(total / sum(WEIGHTS)).astype(members[0].dtype)


def largest(members: Sequence[Array], row: int) -> Array:
    """The largest of each element."""
    return np.asarray(np.max([member[row] for member in members], axis=0))


RANDOM = np.random.default_rng(11)


def numbers(kind: npt.DTypeLike, *shape: int) -> list[Array]:
    """What three members say."""
    return [RANDOM.normal(0, 100, (ROWS, *shape)).astype(kind) for _ in NAMES]


def labels(values: Sequence[object], kind: npt.DTypeLike) -> list[Array]:
    """The same, of a few labels."""
    found = np.array(values, kind)
    return [found[RANDOM.integers(0, len(found), ROWS)] for _ in NAMES]


METHODS: dict[str, tuple[str, list[Array], Callable[[Sequence[Array], int], object]]] = {
    "vote of integers": ("VOTE", labels([3, 5, 7, -2], np.int64), most_frequent),
    "vote of flags": ("VOTE", labels([True, False], np.bool_), most_frequent),
    "vote of texts": ("VOTE", labels([b"no", b"yes", b""], object), most_frequent),
    "mean": ("MEAN", numbers(np.float32), mean),
    "mean of FP16": ("MEAN", numbers(np.float16), mean),
    "mean of lists": ("MEAN", numbers(np.float64, 3), mean),
    "weighted mean": ("WEIGHTED_MEAN", numbers(np.float32, 1), weighted_mean),
    "weighted mean of FP64": ("WEIGHTED_MEAN", numbers(np.float64), weighted_mean),
    "largest": ("MAX", numbers(np.float32, 2), largest),
    "largest of integers": ("MAX", labels([-5, 2**62, 2**62 + 1, 0], np.int64), largest),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def members(whole: Compositions) -> Compositions:
    """An ensemble of every method; of each its members a, b and c."""

    async def serve(number: int, method: str, said: Sequence[Array]) -> None:
        names = [f"{name}-{number}" for name in NAMES]
        await asyncio.gather(*(whole.table(name, y=each) for name, each in zip(names, said, strict=True)))
        given = dict(zip(NAMES, WEIGHTS, strict=True)) if method == "WEIGHTED_MEAN" else NAMES
        nodes = [node(short, f"{name}@1.0.0") for short, name in zip(NAMES, names, strict=True)]
        await whole.serve(f"both-{number}", graph(*nodes, ensemble("both", method, given), y="both"))

    await asyncio.gather(*(serve(number, each[0], each[1]) for number, each in enumerate(METHODS.values())))
    return whole


@pytest.mark.parametrize("number", range(len(METHODS)), ids=METHODS.keys())
async def test_method(members: Compositions, number: int) -> None:
    """Each row is what its members' answers make, in the members' type, whoever travels along."""
    _, said, naive = list(METHODS.values())[number]
    exact = not np.issubdtype(said[0].dtype, np.floating)
    near = 0.0 if exact else 2 * float(np.finfo(said[0].dtype).eps)

    async def ask(rows: list[int]) -> None:
        answer = await members.own.predict(f"both-{number}", {}, {"x": rows})
        expected = np.array([naive(said, row) for row in rows]).ravel().tolist()
        texts = [value.decode() if isinstance(value, bytes) else value for value in expected]
        assert not answer.row_errors
        assert (texts if exact else pytest.approx(expected, rel=near, abs=100 * near)) == output(answer)

    await asyncio.gather(ask(list(range(ROWS))), *(ask([row, (7 * row) % ROWS]) for row in range(ROWS)))


async def test_path(members: Compositions) -> None:
    """An answer says that every member was computed, with its time and its rows."""
    answer = await members.own.predict("both-3", {}, {"x": [1, 2]})
    assert {name: [("COMPUTED", [], "")] for name in NAMES} == path(answer)
    assert all((step.duration_us > 0, step.batch_rows) == (True, 2) for step in answer.provenance.nodes)
    assert not answer.provenance.degradations


async def test_row_that_a_member_fails(members: Compositions) -> None:
    """A required member's failure is the row's, with its reason; the others are answered."""
    said = METHODS["mean"][1]
    answer = await members.own.predict("both-3", {}, {"x": [0, ROWS, 2]})
    ((row, error),) = [(each.row, status_failure(each.status)) for each in answer.row_errors]
    assert (1, "INTERNAL", "RUNTIME_FAILED") == (row, error.code, error.reason)
    assert [float(mean(said, 0)), float(mean(said, 2))] == output(answer)[::2]
    refused = await failure(members.own.predict("both-3", {}, {"x": [ROWS]}))
    assert ("INTERNAL", "RUNTIME_FAILED") == (refused.code, refused.reason)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lacking(whole: Compositions) -> Compositions:
    """Tables that fail where they have no entry or NaN: low from 2 on, odd at 1 and 3; full has all four."""
    await whole.table("full", y=np.array([1, 2, 3, 4], np.float32), label=np.array([1, 1, 1, 1]))
    await whole.table("low", y=np.array([10, 20], np.float32), label=np.array([2, 2]))
    odd = np.array([100, np.nan, 300, np.inf], np.float32)
    await whole.table("odd", y=odd, label=np.array([2, 2, 2, 2]))
    return whole


# Rows 0 to 3 of full, low and odd: all are there, then full and low, full and odd, and full alone.
LEFT_OUT: dict[str, tuple[str, dict[str, float], list[float]]] = {
    "mean": ("MEAN", {}, [111 / 3, 11, 303 / 2, 4]),
    "weighted mean": (
        "WEIGHTED_MEAN",
        {"full": 0.5, "low": 0.3, "odd": 0.2},
        [0.5 + 3 + 20, (1 + 6) / 0.8, (1.5 + 60) / 0.7, 4],
    ),
    "largest": ("MAX", {}, [100, 20, 300, 4]),
}


@pytest.mark.parametrize("case", LEFT_OUT)
async def test_optional_members_are_left_out(lacking: Compositions, case: str) -> None:
    """Row by row the others count, by their weights, and the answer says which were left out and why."""
    method, weights, expected = LEFT_OUT[case]
    sources = {f"{name}.y": weights.get(name, 0.0) for name in ("full", "low", "odd")}
    nodes = [
        node("full", "full@1.0.0"),
        node("low", "low@1.0.0", optional=True),
        node("odd", "odd@1.0.0", optional=True),
    ]
    given = sources if weights else list(sources)
    name = f"left-out-{case.replace(' ', '-')}"
    await lacking.serve(name, graph(*nodes, ensemble("all", method, given), y="all"))
    answer = await lacking.own.predict(name, {}, {"x": [0, 1, 2, 3]})
    assert pytest.approx(expected, rel=1e-6) == output(answer)
    assert not answer.row_errors
    assert [("NODE_FAILED", "low", [2, 3]), ("NODE_FAILED", "odd", [1, 3])] == degraded(answer)
    steps = path(answer)
    assert [("COMPUTED", [], "")] == steps["full"]
    assert [("COMPUTED", [0, 1], ""), ("LEFT_OUT", [2, 3], "RUNTIME_FAILED")] == sorted(steps["low"])
    assert [("COMPUTED", [0, 2]), ("LEFT_OUT", [1, 3])] == sorted(step[:2] for step in steps["odd"])


async def test_votes_of_those_that_are_there(lacking: Compositions) -> None:
    """With low there are two for 2; without it one for each label, and the first member decides."""
    nodes = [
        node("full", "full@1.0.0"),
        node("low", "low@1.0.0", optional=True),
        node("odd", "odd@1.0.0", optional=True),
    ]
    votes = ensemble("all", "VOTE", ["full.label", "low.label", "odd.label"])
    await lacking.serve("votes", graph(*nodes, votes, label="all"))
    answer = await lacking.own.predict("votes", {}, {"x": [0, 1, 2, 3]})
    assert [2, 2, 1, 1] == output(answer, "label")
    assert [("NODE_FAILED", "low", [2, 3])] == degraded(answer)
