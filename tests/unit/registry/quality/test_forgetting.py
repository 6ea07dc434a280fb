"""Predictions go when their time is over or there are too many; what came true of them stays counted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.mesh.errors import Reason, StoreUnavailable
from services.registry.quality import expiry
from services.registry.quality import outcomes as module
from services.registry.quality.outcomes import Outcomes
from services.registry.quality.records import Outcome
from tests.unit.registry.quality.world import NOON_US, Clock, export, keep_and_record, opened, prediction, refusal


async def stored(outcomes: Outcomes) -> int:
    """How many predictions there are."""
    return await outcomes._store.kept()


async def rows(outcomes: Outcomes, table: str) -> int:
    """How many rows a table has."""
    count: tuple[int] = await outcomes._store._database.read(
        lambda connection: connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    )
    return count[0]


async def test_expired_predictions_go_with_all_that_is_theirs(tmp_path: Path) -> None:
    """Features and outcomes, too; the quality of the version stays as it is."""
    clock = Clock()
    async with opened(tmp_path, clock) as outcomes:
        await keep_and_record(
            outcomes,
            (prediction("a", features=b"", expire_us=NOON_US + 1), 1.0),
            (prediction("b", features=b"", expire_us=NOON_US + 2), 0.0),
        )
        before = await outcomes.quality("delay")
        clock.pass_us(1)
        assert not await outcomes.forget()
        assert [1] * 4 == [
            await stored(outcomes),
            *[await rows(outcomes, table) for table in ("predictions", "features", "outcomes")],
        ]
        assert ["b"] == [each.prediction.prediction_id for page in await export(outcomes) for each in page]
        assert before == await outcomes.quality("delay")


async def test_much_is_forgotten_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No deletion holds up writers for long."""
    monkeypatch.setattr(module, "FORGET_AT_ONCE", 3)
    clock = Clock()
    async with opened(tmp_path, clock) as outcomes:
        await outcomes.keep([prediction(str(number), expire_us=NOON_US + 1) for number in range(7)])
        clock.pass_us(1)
        assert [True, True, False, False] == [await outcomes.forget() for _ in range(4)]
        assert 0 == await stored(outcomes)


async def test_the_oldest_make_room(tmp_path: Path) -> None:
    """There are never more than the limit, whatever their times."""
    async with opened(tmp_path, max_predictions=3) as outcomes:
        for number in range(5):
            await outcomes.keep([prediction(str(number), hours=-number)])
        assert 3 == await stored(outcomes) == await rows(outcomes, "predictions")
        results = await outcomes.record([Outcome(str(number), 0, 1.0) for number in range(5)])
        assert [False, False, True, True, True] == [result.error is None for result in results]


async def test_a_lower_limit_is_reached_by_and_by(tmp_path: Path) -> None:
    """A start with less room does not stop for a great deletion."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction(str(number)) for number in range(10)])
    async with opened(tmp_path, max_predictions=4) as outcomes:
        left = []
        for number in range(10, 18):
            await outcomes.keep([prediction(str(number))])
            left.append(await stored(outcomes))
        assert [9, 8, 7, 6, 5, 4, 4, 4] == left


async def test_what_is_over_already_is_not_kept(tmp_path: Path) -> None:
    """A gateway that was cut off brings what nobody can say anything about any more; the rest is kept."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction("a", expire_us=NOON_US), prediction("b")])
        assert 1 == await stored(outcomes)
        assert Reason.UNKNOWN_PREDICTION == (await refusal(outcomes, Outcome("a", 0, 1.0))).reason


async def test_forgetting_goes_on_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes again after a while, and at once while there is more."""
    monkeypatch.setattr(expiry, "INTERVAL_S", 0.001)
    calls = 0
    enough = asyncio.Event()

    async def forget() -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreUnavailable("the disk is full")
        if calls == 5:
            enough.set()
        return calls == 1

    async with expiry.forgetting(forget), asyncio.timeout(10):
        await enough.wait()
    seen = calls
    await asyncio.sleep(0)
    assert seen == calls
