"""How good versions were, over the whole time or parts of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.mesh.errors import Code, MeshError
from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality import outcomes as module
from services.registry.quality.outcomes import Outcomes
from services.registry.quality.records import PredictionRecord
from tests.unit.registry.quality.world import NOON_US, keep_and_record, opened, prediction

HOUR_MS = 3_600_000
NOON = NOON_US // 3_600_000_000


async def spans(outcomes: Outcomes, **parts: int) -> list[tuple[str, int, int, int]]:
    """Version, first and last hour from noon, and outcomes."""
    found = await outcomes.quality("delay", **parts)
    return [(each.version, each.first_hour - NOON, each.last_hour - NOON, each.outcomes) for each in found]


def at(hour: int, version: str = "1.0.0") -> tuple[PredictionRecord, float]:
    """A prediction of an hour from noon, and its label."""
    return prediction(f"{version} {hour}", hours=hour, version=version), 1.0


async def test_versions_are_told_apart_in_their_order(tmp_path: Path) -> None:
    """1.10.0 follows 1.9.0; one without outcomes has its predictions, and no measures."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction("x", 0.5, 0.6, version="1.10.0")])
        await keep_and_record(outcomes, at(0, "1.9.0"), at(3, "1.9.0"))
        assert [("1.9.0", 0, 3, 2), ("1.10.0", 0, 0, 0)] == await spans(outcomes)
        newest = (await outcomes.quality("delay"))[1]
        assert (2, None, None, ()) == (newest.predictions, newest.auc, newest.log_loss, newest.calibration)
        assert [] == await outcomes.quality("other")


async def test_releases_and_steps_are_parts_of_a_version(tmp_path: Path) -> None:
    """A version's quality does not ask under which release it answered."""
    async with opened(tmp_path) as outcomes:
        await keep_and_record(
            outcomes, (prediction("a"), 1.0), (prediction("b", release_id=7), 1.0), (prediction("c", step=1), 0.0)
        )
        assert [("1.0.0", 0, 0, 3)] == await spans(outcomes)


async def test_a_window_ends_with_the_newest_outcome(tmp_path: Path) -> None:
    """Labels arrive late: hours that have none yet do not move it, and begun hours count whole."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction("late", hours=9)])
        await keep_and_record(outcomes, *(at(hour) for hour in range(6)))
        assert [("1.0.0", 0, 9, 6)] == await spans(outcomes)
        assert [("1.0.0", 5, 5, 1)] == await spans(outcomes, window_ms=1)
        assert [("1.0.0", 4, 5, 2)] == await spans(outcomes, window_ms=2 * HOUR_MS)
        assert [("1.0.0", 3, 5, 3)] == await spans(outcomes, window_ms=2 * HOUR_MS + 1)


async def test_a_window_is_cut_from_its_end(tmp_path: Path) -> None:
    """Equal lengths, counted back; hours without anything are left out."""
    async with opened(tmp_path) as outcomes:
        await keep_and_record(outcomes, *(at(hour) for hour in (0, 1, 5, 6, 7)), at(6, "2.0.0"))
        cut = [("1.0.0", 0, 1, 2), ("1.0.0", 5, 7, 3), ("2.0.0", 6, 6, 1)]
        assert cut == await spans(outcomes, every_ms=3 * HOUR_MS)
        assert cut[1:] == await spans(outcomes, every_ms=3 * HOUR_MS, window_ms=6 * HOUR_MS)


async def test_times_before_the_epoch_have_hours_too(tmp_path: Path) -> None:
    """An as_of may be any time."""
    async with opened(tmp_path) as outcomes:
        await keep_and_record(outcomes, (prediction("a", as_of_us=-1), 1.0), (prediction("b", as_of_us=0), 1.0))
        assert [-1, 0] == [each.first_hour for each in await outcomes.quality("delay", every_ms=HOUR_MS)]


async def test_many_hours_are_read_in_pages(tmp_path: Path) -> None:
    """None is lost or counted twice between two pages."""
    async with opened(tmp_path, max_predictions=10_000) as outcomes:
        for first in range(0, 1_700, 850):
            await keep_and_record(outcomes, *(at(hour) for hour in range(first, first + 850)))
        assert [("1.0.0", 0, 1_699, 1_700)] == await spans(outcomes)


async def test_a_kind_of_label_has_its_measures(tmp_path: Path) -> None:
    """Labels that became of another kind are not added to those before."""
    async with opened(tmp_path) as outcomes:
        number = OutcomeKind.REGRESSION
        await keep_and_record(
            outcomes,
            (prediction("a", 0.9), 1.0),
            (prediction("b", 0.1), 0.0),
            (prediction("c", 4.0, kind=number), 1.0),
            (prediction("d", 1.0, kind=number), 2.0),
        )
        binary, regression = await outcomes.quality("delay")
        assert (1.0, None) == (binary.auc, binary.mae)
        assert 10 == len(binary.calibration)
        assert (None, 2.0, 1.0) == (regression.auc, regression.mae, regression.bias)
        assert regression.rmse == pytest.approx(5**0.5)


@pytest.mark.parametrize(
    ("parts", "field"),
    [({"window_ms": -1}, "window_ms"), ({"every_ms": -HOUR_MS}, "every_ms"), ({"every_ms": 90 * 60_000}, "every_ms")],
)
async def test_what_is_no_length_of_time_is_refused(tmp_path: Path, parts: dict[str, int], field: str) -> None:
    """Parts of hours cannot be told apart."""
    async with opened(tmp_path) as outcomes:
        with pytest.raises(MeshError) as caught:
            await outcomes.quality("delay", **parts)
        assert (Code.INVALID_ARGUMENT, field) == (caught.value.code, caught.value.violations[0].field)


async def test_an_answer_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too fine a cut is refused with what to ask instead."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    async with opened(tmp_path) as outcomes:
        await keep_and_record(outcomes, *(at(hour) for hour in range(4)))
        assert 2 == len(await outcomes.quality("delay", every_ms=2 * HOUR_MS))
        with pytest.raises(MeshError, match="a shorter window") as caught:
            await outcomes.quality("delay", every_ms=HOUR_MS)
        assert "every_ms" == caught.value.violations[0].field
