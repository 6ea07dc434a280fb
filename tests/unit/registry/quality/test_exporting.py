"""Predictions with the features that were served and what came true, as training data."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from services.mesh.errors import MeshError
from services.registry.quality import exporting
from services.registry.quality.outcomes import Outcomes
from services.registry.quality.records import Outcome
from tests.unit.registry.quality.world import NOON_US, export, opened, prediction


async def names(outcomes: Outcomes, **parts: Any) -> list[list[str]]:
    """The names in each page."""
    return [[each.prediction.prediction_id for each in page] for page in await export(outcomes, **parts)]


async def test_predictions_come_back_as_they_were(tmp_path: Path) -> None:
    """Scores, features and labels, also those of a row that failed."""
    async with opened(tmp_path) as outcomes:
        record = prediction("a", 0.25, math.nan, 0.75, release_id=7, step=2, features=b"\0served")
        await outcomes.keep([record])
        await outcomes.record([Outcome("a", 2, 1.0, NOON_US), Outcome("a", 0, 0.0)])
        ((found,),) = await export(outcomes)
        assert (record.series, record.as_of_us, record.expire_us, record.features) == (
            found.prediction.series,
            found.prediction.as_of_us,
            found.prediction.expire_us,
            found.prediction.features,
        )
        assert [0.25, None, 0.75] == [None if math.isnan(score) else score for score in found.prediction.scores]
        assert (Outcome("a", 0, 0.0, NOON_US), Outcome("a", 2, 1.0, NOON_US)) == found.outcomes


async def test_only_what_was_captured_is_exported_in_order(tmp_path: Path) -> None:
    """By as_of, however it arrived; another endpoint's are not among them."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep(
            [
                prediction("c", hours=2, features=b""),
                prediction("x"),
                prediction("a", hours=-1, features=b""),
                prediction("y", features=b"", endpoint="other"),
                prediction("b", hours=2, features=b""),
            ]
        )
        assert [["a", "c", "b"]] == await names(outcomes)


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_pages_hold_everything_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    """However few are read together, and of whatever size they are."""
    monkeypatch.setattr(exporting, "PAGE_PREDICTIONS", page)
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction(str(number), features=bytes(10)) for number in range(7)])
        everything = [str(number) for number in range(7)]
        assert everything == list(chain(*await names(outcomes)))
        assert [[name] for name in everything] == await names(outcomes, page_bytes=5)


async def test_times_bound_an_export(tmp_path: Path) -> None:
    """The first is included, the last is not."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction(str(time), as_of_us=NOON_US + time, features=b"") for time in range(5)])
        assert [["1", "2"]] == await names(outcomes, start_us=NOON_US + 1, end_us=NOON_US + 3)
        with pytest.raises(MeshError, match="after the start"):
            await names(outcomes, start_us=NOON_US, end_us=NOON_US)


async def test_only_what_is_labelled_throughout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that cannot have an outcome need not; a prediction of only such rows is not labelled. Gaps end nothing."""
    monkeypatch.setattr(exporting, "PAGE_PREDICTIONS", 2)
    async with opened(tmp_path) as outcomes:
        await outcomes.keep(
            [
                *[prediction(f"none {number}", features=b"") for number in range(5)],
                prediction("some", 0.5, 0.5, features=b""),
                prediction("failed", math.nan, features=b""),
                prediction("all", 0.5, math.nan, 0.5, features=b""),
            ]
        )
        labels = [Outcome("some", 0, 1.0), Outcome("all", 0, 1.0), Outcome("all", 2, 0.0)]
        assert all(result.error is None for result in await outcomes.record(labels))
        assert ["all"] == list(chain(*await names(outcomes, labelled_only=True)))
