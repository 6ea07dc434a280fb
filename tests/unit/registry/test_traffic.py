"""Evidence from gateways."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.mesh.errors import Code, MeshError, Reason
from services.registry.catalog import Catalog
from services.registry.definitions import DataType, Model, Release, ReleasePlan, ReleaseState, Tensor
from services.registry.stores.traffic import SqliteTrafficStore
from services.registry.totals import ArmTotals, Histogram, ShadowExample, ShadowTotals
from services.registry.traffic import SHADOWS_KEPT, Traffic
from tests.support.definitions import endpoint, version

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VERSIONS = ("1.0.0", "1.1.0", "1.2.0")
RELEASE = Release(
    endpoint="churn",
    id=7,
    stable="1.0.0",
    candidate="1.1.0",
    plan=ReleasePlan(steps=(5.0, 50.0, 100.0)),
    state=ReleaseState.RUNNING,
    step=0,
    start_time=NOW,
    step_time=NOW,
    state_time=NOW,
)
CATALOG = Catalog(
    models={"churn": Model("churn", versions=tuple(map(version, VERSIONS)))},
    endpoints={name: endpoint(name) for name in ("churn", "other")},
    releases={"churn": RELEASE},
)


def arm(requests: int = 10, step: int = 0, number: str = "1.1.0", **parts: Any) -> ArmTotals:
    """Requests without errors, all in one bin."""
    latency = Histogram((80,), (requests,)) if requests else Histogram()
    return replace(ArmTotals("churn", 7, step, number, requests, 0, latency), **parts)


def shadow(rows: int = 10, **parts: Any) -> ShadowTotals:
    """Rows that are all alike."""
    differences = Histogram((0,), (rows,)) if rows else Histogram()
    totals = ShadowTotals("churn", "1.0.0", "1.1.0", rows, rows, rows, differences=differences, last_time=NOW)
    return replace(totals, **parts)


@asynccontextmanager
async def opened(directory: Path, catalog: Catalog = CATALOG, log_id: str = "log") -> AsyncIterator[Traffic]:
    """The evidence that is kept in a directory."""
    async with SqliteTrafficStore.open(directory / "traffic.sqlite3", log_id) as store:
        yield Traffic(store, lambda: catalog, lambda: NOW)


@pytest.fixture
async def traffic(tmp_path: Path) -> AsyncIterator[Traffic]:
    """No evidence yet."""
    async with opened(tmp_path) as made:
        yield made


async def requests(traffic: Traffic) -> dict[tuple[int, str], int]:
    """How many requests each step and version has had."""
    return {key: totals.requests for key, totals in (await traffic.steps("churn", 7)).items()}


async def test_processes_add_up(traffic: Traffic) -> None:
    """Each version in each step apart; a gateway that has been restarted is another process."""
    assert {} == await requests(traffic)
    await traffic.report("a", 1, [arm(10), arm(20, number="1.0.0"), arm(5, step=1)], [])
    await traffic.report("b", 1, [arm(3, errors=2, latency=Histogram((80, 90), (1, 1)))], [])
    assert {(0, "1.1.0"): 13, (0, "1.0.0"): 20, (1, "1.1.0"): 5} == await requests(traffic)
    both = (await traffic.steps("churn", 7))[0, "1.1.0"]
    assert (2, Histogram((80, 90), (11, 1))) == (both.errors, both.latency)


async def test_a_report_replaces_what_it_names(traffic: Traffic) -> None:
    """Totals, not differences; what it leaves out stays as it was."""
    await traffic.report("a", 1, [arm(10), arm(20, number="1.0.0")], [])
    await traffic.report("a", 2, [arm(15)], [])
    await traffic.report("a", 1, [arm(10), arm(1, step=1)], [])
    assert {(0, "1.1.0"): 15, (0, "1.0.0"): 20, (1, "1.1.0"): 1} == await requests(traffic)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[tuple[str, int, list[ArmTotals]]], Mapping[tuple[int, str], int]]:
    """Reports of some processes in the order of their arrival, each once or more, and what they amount to."""
    reports = []
    newest: dict[tuple[str, int, str], int] = {}
    keys = st.tuples(st.integers(0, 2), st.sampled_from(["1.0.0", "1.1.0"]))
    for instance in draw(st.lists(st.sampled_from("abc"), unique=True)):
        for sequence in range(draw(st.integers(1, 5))):
            changed = draw(st.sets(keys, min_size=1, max_size=3))
            for key in changed:
                newest[instance, *key] = newest.get((instance, *key), 0) + draw(st.integers(1, 9))
            reports.append((instance, sequence, [arm(newest[instance, *key], *key) for key in changed]))
    repeated = draw(st.lists(st.sampled_from(reports), max_size=10)) if reports else []
    sums: dict[tuple[int, str], int] = {}
    for (_, *at), count in newest.items():
        sums[at[0], at[1]] = sums.get((at[0], at[1]), 0) + count  # type: ignore[index, arg-type]
    return draw(st.permutations(reports + repeated)), sums


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(delivered=deliveries(), reopened_at=st.integers(0, 20))
async def test_the_order_of_arrival_does_not_count(
    delivered: tuple[list[tuple[str, int, list[ArmTotals]]], Mapping[tuple[int, str], int]], reopened_at: int
) -> None:
    """However reports are mixed, repeated and delayed, and whenever the registry restarts: the newest of each count."""
    reports, sums = delivered
    with tempfile.TemporaryDirectory() as directory:
        for part in (reports[:reopened_at], reports[reopened_at:]):
            async with opened(Path(directory)) as traffic:
                for instance, sequence, arms in part:
                    await traffic.report(instance, sequence, arms, [])
        async with opened(Path(directory)) as traffic:
            assert sums == await requests(traffic)
            assert sums == {key: sum(each.latency.counts) for key, each in (await traffic.steps("churn", 7)).items()}


async def test_what_is_about_nothing_here_is_passed_over(traffic: Traffic) -> None:
    """A gateway that is behind may count for a release that is over; the rest of its report is taken."""
    others = [
        arm(endpoint="none"),
        arm(release_id=6),
        arm(number="1.2.0"),
        arm(step=3),
        arm(release_id=2**64 - 1),
        arm(5),
    ]
    await traffic.report("a", 1, others, [shadow(endpoint="none"), shadow(shadow="2.0.0")])
    assert {(0, "1.1.0"): 5} == await requests(traffic)
    assert {} == await traffic.steps("churn", 6)
    assert () == await traffic.shadows("none") == await traffic.shadows("churn")


async def test_shadows_add_up(traffic: Traffic) -> None:
    """Of the examples the worst are kept, of the times the last; the newest pair of versions comes first."""

    def examples(name: str, *differences: float) -> tuple[ShadowExample, ...]:
        return tuple(ShadowExample(name, row, difference) for row, difference in enumerate(differences))

    later = NOW + timedelta(hours=1)
    await traffic.report("a", 1, [], [shadow(10, exact_rows=8, worst=examples("a", *range(10)), difference_sum=1.5)])
    await traffic.report("b", 1, [], [shadow(5, last_time=later, worst=examples("b", 8.5, math.nan), errors=1)])
    await traffic.report("b", 2, [], [shadow(1, shadow="1.2.0", last_time=later + timedelta(hours=1))])
    newest, totals = await traffic.shadows("churn")
    assert ("1.2.0", 1) == (newest.shadow, newest.rows)
    assert (15, 13, 15, 1, 1.5, later) == (
        totals.rows,
        totals.exact_rows,
        totals.tolerant_rows,
        totals.errors,
        totals.difference_sum,
        totals.last_time,
    )
    assert ["b1", "a9", "b0", *(f"a{row}" for row in range(8, 1, -1))] == [
        f"{each.prediction_id}{each.row}" for each in totals.worst
    ]


async def test_examples_come_back_as_they_were(traffic: Traffic) -> None:
    """Bytes that are no text, and numbers that JSON lacks, included."""
    tensors = (
        Tensor("bytes", DataType.BYTES, (1,), blobs=(b"\xff\x00",)),
        Tensor("x", DataType.FP32, (2,), floats=(0.25, -math.inf), null_rows=(3,)),
    )
    given_ = shadow(worst=(ShadowExample("p", 1, math.inf, tensors, tensors, tensors, as_of=NOW),))
    await traffic.report("a", 1, [], [given_])
    assert (given_,) == await traffic.shadows("churn")


async def test_what_is_over_is_forgotten(tmp_path: Path) -> None:
    """Evidence of releases that are no endpoint's last, and shadows of what has been deleted."""
    async with opened(tmp_path) as traffic:
        await traffic.report("a", 1, [arm()], [shadow(), shadow(shadow="1.2.0"), shadow(endpoint="other")])
        await traffic.prune()
        assert 1 == len(await requests(traffic))
        assert [2, 1] == [len(await traffic.shadows(name)) for name in ("churn", "other")]
    following = Catalog(
        models={"churn": Model("churn", versions=(version("1.0.0"), version("1.1.0")))},
        endpoints={"churn": endpoint()},
        releases={"churn": replace(RELEASE, id=8)},
    )
    async with opened(tmp_path, following) as traffic:
        await traffic.prune()
        assert {} == await requests(traffic)
        assert ["1.1.0"] == [each.shadow for each in await traffic.shadows("churn")]
        assert () == await traffic.shadows("other")


async def test_shadows_of_processes_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    """Otherwise every process that there ever was would be kept; one that reports again counts with all it has."""
    times = [NOW, NOW + SHADOWS_KEPT, NOW + SHADOWS_KEPT + timedelta(seconds=1), NOW + SHADOWS_KEPT]
    async with SqliteTrafficStore.open(tmp_path / "traffic.sqlite3", "log") as store:
        traffic = Traffic(store, lambda: CATALOG, lambda: times.pop(0))
        await traffic.report("a", 1, [], [shadow(10)])
        await traffic.report("b", 1, [], [shadow(1)])
        await traffic.prune()
        assert [1] == [each.rows for each in await traffic.shadows("churn")]
        await traffic.report("a", 2, [], [shadow(12)])
        assert [13] == [each.rows for each in await traffic.shadows("churn")]


async def test_evidence_belongs_to_a_log(tmp_path: Path) -> None:
    """The same number is another release in another log."""
    async with opened(tmp_path) as traffic:
        await traffic.report("a", 1, [arm()], [shadow()])
    async with opened(tmp_path, log_id="another") as traffic:
        assert {} == await requests(traffic)
        assert () == await traffic.shadows("churn")


async def test_what_was_taken_survives_a_kill(tmp_path: Path) -> None:
    """A gateway does not report again what has not changed since."""
    code = (
        "import asyncio, sys, time, pathlib\n"
        "from tests.unit.registry.test_traffic import opened, arm\n"
        "async def main():\n"
        "    async with opened(pathlib.Path(sys.argv[1])) as traffic:\n"
        "        await traffic.report('a', 1, [arm(10)], [])\n"
        "        print('taken', flush=True)\n"
        "        time.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, tmp_path, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert b"taken\n" == await process.stdout.readline()
    process.kill()
    await process.wait()
    async with opened(tmp_path) as traffic:
        assert {(0, "1.1.0"): 10} == await requests(traffic)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no process": ({"instance_id": ""}, "instance_id"),
    "a long name": ({"instance_id": "x" * 257}, "instance_id"),
    "a huge sequence": ({"sequence": 2**63}, "sequence"),
    "negative requests": ({"arms": [arm(), arm(step=1, requests=-1, latency=Histogram())]}, "arms[1].requests"),
    "huge requests": ({"arms": [arm(requests=2**53 + 1, latency=Histogram())]}, "arms[0].requests"),
    "negative errors": ({"arms": [arm(errors=-1)]}, "arms[0].errors"),
    "more errors than requests": ({"arms": [arm(errors=11)]}, "arms[0].errors"),
    "more times than requests": ({"arms": [arm(latency=Histogram((1, 2), (5, 6)))]}, "arms[0].latency.counts"),
    "fewer counts than bins": ({"arms": [arm(latency=Histogram((1, 2), (5,)))]}, "arms[0].latency.counts"),
    "an empty bin": ({"arms": [arm(latency=Histogram((1, 2), (5, 0)))]}, "arms[0].latency.counts"),
    "a negative count": ({"arms": [arm(latency=Histogram((1, 2), (5, -1)))]}, "arms[0].latency.counts"),
    "bins that fall": ({"arms": [arm(latency=Histogram((2, 1), (5, 1)))]}, "arms[0].latency.bins"),
    "a bin twice": ({"arms": [arm(latency=Histogram((2, 2), (5, 1)))]}, "arms[0].latency.bins"),
    "a bin beyond all times": ({"arms": [arm(latency=Histogram((321,), (5,)))]}, "arms[0].latency.bins"),
    "an arm twice": ({"arms": [arm(), arm(11)]}, "arms[1]"),
    "more exact rows than rows": ({"shadows": [shadow(exact_rows=11)]}, "shadows[0].exact_rows"),
    "more tolerant rows than rows": ({"shadows": [shadow(tolerant_rows=11)]}, "shadows[0].tolerant_rows"),
    "more top-1 rows than ranked": ({"shadows": [shadow(ranked_rows=3, top1_rows=4)]}, "shadows[0].top1_rows"),
    "negative drops": ({"shadows": [shadow(dropped=-1)]}, "shadows[0].dropped"),
    "a difference beyond all": (
        {"shadows": [shadow(differences=Histogram((82,), (1,)))]},
        "shadows[0].differences.bins",
    ),
    "too many examples": ({"shadows": [shadow(worst=(ShadowExample("p", 0, 0.5),) * 11)]}, "shadows[0].worst"),
    "a shadow twice": ({"shadows": [shadow(), shadow(11)]}, "shadows[1]"),
}


@pytest.mark.parametrize(("parts", "path"), BAD.values(), ids=BAD.keys())
async def test_a_report_that_is_wrong_is_refused_whole(traffic: Traffic, parts: dict[str, Any], path: str) -> None:
    """Nothing of it is taken, and its sender learns which field is wrong."""
    standard: dict[str, Any] = {"instance_id": "a", "sequence": 2, "arms": [arm()], "shadows": [shadow()]}
    with pytest.raises(MeshError) as caught:
        await traffic.report(**standard | parts)
    assert (Code.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT) == (caught.value.code, caught.value.reason)
    assert [path] == [each.field for each in caught.value.violations]
    assert {} == await requests(traffic)
    assert () == await traffic.shadows("churn")
