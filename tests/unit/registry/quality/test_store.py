"""What the file does beyond what is asked of predictions and outcomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.mesh.errors import StoreUnavailable
from services.registry.quality.records import Outcome, OutcomeResult
from tests.unit.registry.quality.world import keep_and_record, opened, prediction


async def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    """Labels, counts and what a repeat is answered are in the file."""
    async with opened(tmp_path) as outcomes:
        await keep_and_record(outcomes, (prediction("a", 0.3, release_id=7), 1.0))
        before = await outcomes.quality("delay"), await outcomes.step_counts("delay", 7)
    async with opened(tmp_path) as outcomes:
        assert before == (await outcomes.quality("delay"), await outcomes.step_counts("delay", 7))
        assert [OutcomeResult(existed=True)] == await outcomes.record([Outcome("a", 0, 1.0)])


async def test_releases_belong_to_a_log(tmp_path: Path) -> None:
    """Another log may give the same number to another release; how good versions were does not ask for the log."""
    async with opened(tmp_path) as outcomes:
        await keep_and_record(outcomes, (prediction("a", release_id=7), 1.0), (prediction("b"), 1.0))
    async with opened(tmp_path, log_id="another") as outcomes:
        assert {} == await outcomes.step_counts("delay", 7)
        await keep_and_record(outcomes, (prediction("c", release_id=7), 1.0), (prediction("d"), 0.0))
        assert [4] == [each.outcomes for each in await outcomes.quality("delay")]
        assert [1] == [counts.n for counts in (await outcomes.step_counts("delay", 7)).values()]


async def test_a_commit_is_synced(tmp_path: Path) -> None:
    """An outcome that was acknowledged survives a power cut."""
    async with opened(tmp_path) as outcomes:
        synchronous = await outcomes._store._database.read(
            lambda connection: connection.execute("PRAGMA synchronous").fetchone()
        )
    assert (2,) == synchronous


async def test_a_failing_disk_loses_a_batch_whole(tmp_path: Path) -> None:
    """Callers learn that the store does not answer, and nothing of the call is there when it does again."""
    async with opened(tmp_path) as outcomes:
        await outcomes.keep([prediction("a"), prediction("b")])
        await outcomes._store._database.write(lambda connection: connection.execute("ALTER TABLE hours RENAME TO x"))
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await outcomes.record([Outcome("a", 0, 1.0), Outcome("b", 0, 1.0)])
        await outcomes._store._database.write(lambda connection: connection.execute("ALTER TABLE x RENAME TO hours"))
        assert [OutcomeResult()] * 2 == await outcomes.record([Outcome("a", 0, 1.0), Outcome("b", 0, 1.0)])
