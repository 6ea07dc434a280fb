"""What is recorded of predictions and of what came true: each row once, and nothing that cannot be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from services.mesh.errors import Code, MeshError, Reason
from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality.measures import ErrorSums, ScoreCounts
from services.registry.quality.records import Outcome, OutcomeResult
from services.registry.quality.store import QualityStore
from tests.unit.registry.quality.world import DAY_US, NOON_US, Clock, keep_and_record, opened, prediction, refusal

RECORDED, EXISTED = OutcomeResult(), OutcomeResult(existed=True)


async def test_an_outcome_is_counted_once(tmp_path: Path) -> None:
    """A repeat, in another call or in the same, is answered alike and adds nothing."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction("a", 0.2, 0.7)])
        first, second = Outcome("a", 0, 0.0), Outcome("a", 1, 1.0)
        assert [RECORDED, EXISTED] == await outcomes.record([first, first])
        assert [EXISTED, RECORDED] == await outcomes.record([first, second])
        (quality,) = await outcomes.quality("delay")
        assert (2, 2, 1.0) == (quality.predictions, quality.outcomes, quality.auc)


async def test_the_first_prediction_of_a_name_counts(tmp_path: Path) -> None:
    """Whatever comes under the same name later, in the same call or another, changes nothing."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction("a", 0.9), prediction("a", 0.1, 0.1)])
        await outcomes.keep([prediction("a", 0.3, version="2.0.0")])
        await outcomes.record([Outcome("a", 0, 1.0)])
        (quality,) = await outcomes.quality("delay")
        assert ("1.0.0", 1, 1) == (quality.version, quality.predictions, quality.outcomes)
        assert quality.log_loss == pytest.approx(-math.log(0.9005))


async def test_another_label_is_refused(tmp_path: Path) -> None:
    """What has been recorded stays, also against one in the same call."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction("a")])
        results = await outcomes.record([Outcome("a", 0, 1.0), Outcome("a", 0, 0.0)])
        assert RECORDED == results[0]
        error = await refusal(outcomes, Outcome("a", 0, 0.0))
        assert (Code.ALREADY_EXISTS, Reason.ALREADY_EXISTS) == (error.code, error.reason)
        assert results[1].error is not None
        assert error.message == results[1].error.message
        assert [EXISTED] == await outcomes.record([Outcome("a", 0, 1.0)])


async def test_a_bad_outcome_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    """Outcomes of many callers travel together; each is judged by itself."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction("a"), prediction("b")])
        results = await outcomes.record([Outcome("a", 0, 1.0), Outcome("?", 0, 1.0), Outcome("b", 0, 0.0)])
        assert [True, False, True] == [result.error is None for result in results]
        assert 2 == (await outcomes.quality("delay"))[0].outcomes


@pytest.mark.parametrize(
    ("outcome", "field"),
    [
        (Outcome("", 0, 1.0), "prediction_id"),
        (Outcome("x" * 65, 0, 1.0), "prediction_id"),
        (Outcome("é" * 33, 0, 1.0), "prediction_id"),
        (Outcome("a", 0, math.nan), "label"),
        (Outcome("a", 0, math.inf), "label"),
        (Outcome("a", 0, 0.5), "label"),
        (Outcome("a", 0, -1.0), "label"),
        (Outcome("number", 0, 1e70), "label"),
        (Outcome("a", 5, 1.0), "row"),
        (Outcome("a", 2**32 - 1, 1.0), "row"),
        (Outcome("a", 1, 1.0), "row"),
        (Outcome("a", 2, 1.0), "row"),
        (Outcome("a", 3, 1.0), "row"),
        (Outcome("number", 1, 1.0), "row"),
        (Outcome("a", 0, 1.0, 2**63), "time"),
        (Outcome("a", 0, 1.0, -(2**60)), "time"),
    ],
)
async def test_an_outcome_that_cannot_be_is_refused(tmp_path: Path, outcome: Outcome, field: str) -> None:
    """A wrong label, a row that is not there, that failed, or whose score is no probability: by the field."""
    async with opened(tmp_path) as outcomes:
        number = prediction("number", 3.5, math.inf, kind=OutcomeKind.REGRESSION, endpoint="minutes")
        await outcomes.keep([prediction("a", 0.5, math.nan, 1.5, -0.1), number])
        error = await refusal(outcomes, outcome)
        assert Code.INVALID_ARGUMENT == error.code
        assert [field] == [violation.field for violation in error.violations]
        assert [0, 0] == [(await outcomes.quality(endpoint))[0].outcomes for endpoint in ("delay", "minutes")]


async def test_a_row_that_failed_may_have_been_answered_by_a_fallback(tmp_path: Path) -> None:
    """Who got that answer is told why there is no use for what came true of it."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction("a", 0.5, math.nan)])
        told = (await refusal(outcomes, Outcome("a", 1, 1.0))).message
        assert "the version failed it, and what a fallback may have answered is no score of a version" in told


async def test_rows_without_a_score_are_not_waited_for(tmp_path: Path) -> None:
    """What is told of predictions are rows that can have an outcome."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction("a", 0.5, math.nan, 1.5, 0.0, 1.0)])
        assert 3 == (await outcomes.quality("delay"))[0].predictions


async def test_an_unknown_prediction_is_told_with_what_may_be_the_cause(tmp_path: Path) -> None:
    """It was not sampled, its time is over, or there was none."""
    clock = Clock()
    async with opened(tmp_path, clock) as outcomes:
        await outcomes.keep([prediction("a", expire_us=NOON_US + 1), prediction("b", expire_us=NOON_US)])
        clock.pass_us(1)
        for name in ("a", "b", "c"):
            error = await refusal(outcomes, Outcome(name, 0, 1.0))
            assert (Code.NOT_FOUND, Reason.UNKNOWN_PREDICTION) == (error.code, error.reason)
            assert ["prediction_id"] == [violation.field for violation in error.violations]
            assert "not sampled" in error.message


@pytest.mark.parametrize("name", ["a\0b", 'a"b', "a\nb", "ä", "'"])
async def test_any_name_is_a_name(tmp_path: Path, name: str) -> None:
    """Callers choose names; no other prediction is taken for theirs."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction("a", 0.1)])
        await outcomes.keep([prediction(name, 0.9), prediction("other")])
        assert [RECORDED, RECORDED] == await outcomes.record([Outcome(name, 0, 1.0), Outcome("a", 0, 0.0)])
        assert 3 == (await outcomes.quality("delay"))[0].predictions


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"endpoint": ""}, "endpoint"),
        ({"model": "No Model"}, "model"),
        ({"version": "champion"}, "version"),
        ({"kind": OutcomeKind.UNSPECIFIED}, "kind"),
        ({"release_id": 2**63}, "release_id"),
        ({"as_of_us": 2**60}, "as_of"),
        ({"expire_us": 2**60}, "expire_time"),
    ],
)
async def test_a_prediction_that_cannot_be_refuses_its_batch(tmp_path: Path, parts: dict[str, Any], field: str) -> None:
    """It is a fault of a gateway: nothing of the call is kept, and the field is told."""
    async with opened(tmp_path) as outcomes:
        with pytest.raises(MeshError) as caught:
            await outcomes.keep([prediction("a"), prediction("b", **parts)])
        assert Code.INVALID_ARGUMENT == caught.value.code
        assert f"predictions[1].{field}" == caught.value.violations[0].field
        assert [] == await outcomes.quality("delay")


@pytest.mark.parametrize("scores", [(), (0.5,) * 257])
async def test_a_prediction_has_1_to_256_rows(tmp_path: Path, scores: tuple[float, ...]) -> None:
    """As a request has."""
    async with opened(tmp_path) as outcomes:
        record = prediction("a", *scores or (0.5,))
        with pytest.raises(MeshError, match="1 to 256 rows"):
            await outcomes.keep([type(record)("a", record.series, NOON_US, scores, NOON_US + DAY_US)])


async def test_a_call_has_a_limit(tmp_path: Path) -> None:
    """A thousand are taken, and no more."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction(str(number)) for number in range(1_000)])
        labels = [Outcome(str(number), 0, 1.0) for number in range(1_000)]
        assert [RECORDED] * 1_000 == await outcomes.record(labels)
        with pytest.raises(MeshError, match="at most 1000"):
            await outcomes.keep([prediction(str(number)) for number in range(1_001)])
        with pytest.raises(MeshError, match="at most 1000"):
            await outcomes.record([*labels, labels[0]])


async def test_steps_of_a_release_count_apart(tmp_path: Path) -> None:
    """By step and version, over all hours; what belongs to no release or another one is not among them."""
    async with opened(tmp_path) as outcomes:
        rows = [
            (prediction("a", 0.2, release_id=7, step=0), 1.0),
            (prediction("b", 0.2, release_id=7, step=0, hours=5), 0.0),
            (prediction("c", 0.4, release_id=7, step=1, version="1.1.0"), 1.0),
            (prediction("d", 0.4, release_id=8, step=1, version="1.1.0"), 1.0),
            (prediction("e", 0.4), 1.0),
            (prediction("f", 0.4, release_id=7, endpoint="other"), 1.0),
        ]
        await outcomes.keep([prediction("g", release_id=7, step=2)])
        await keep_and_record(outcomes, *rows)
        expected = {
            (0, "1.0.0"): ScoreCounts.of([0.2, 0.2], [1, 0]),
            (1, "1.1.0"): ScoreCounts.of([0.4], [1]),
        }
        assert expected == await outcomes.step_counts("delay", 7)
        assert {} == await outcomes.step_counts("delay", 9)


async def test_steps_are_read_without_their_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each release asks for them each second, and a replay has hundreds of hours."""
    monkeypatch.delattr(QualityStore, "hours")
    async with opened(tmp_path) as outcomes:
        await keep_and_record(
            outcomes, *((prediction(f"p{hour}", 0.2, release_id=7, hours=hour), 1.0) for hour in range(9))
        )
        assert {(0, "1.0.0"): ScoreCounts.of([0.2] * 9, [1] * 9)} == await outcomes.step_counts("delay", 7)


async def test_steps_of_numbers_have_sums(tmp_path: Path) -> None:
    """Errors are predictions less labels."""
    async with opened(tmp_path) as outcomes:
        parts: dict[str, Any] = {"release_id": 7, "kind": OutcomeKind.REGRESSION}
        await keep_and_record(outcomes, (prediction("a", 5.0, **parts), 3.0), (prediction("b", 1.0, **parts), 2.0))
        assert {(0, "1.0.0"): ErrorSums.of([2.0, -1.0])} == await outcomes.step_counts("delay", 7)
