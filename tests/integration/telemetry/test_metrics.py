"""The services as Prometheus sees them, by the rules that are shipped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from predictmesh.registry.v1 import release_service_pb2 as release_pb
from predictmesh.registry.v1.release_pb2 import ReleasePlan
from tests.support.onnx_models import linear
from tests.support.prometheus import Prometheus
from tests.support.triton import installed_triton
from tests.support.waiting import until
from tests.worlds.mesh import connect
from tests.worlds.resources import field, view
from tests.worlds.sandbox import TIMEOUT_S, Sandbox
from tests.worlds.up import Up

JOBS = ("gateway", "features", "model", "registry")
CALLS, MISTAKES = 20, 100


@pytest_asyncio.fixture
async def own(running: Up) -> AsyncIterator[Sandbox]:
    """Endpoint `ride`, of a model of two versions over one stored field."""
    async with connect(running.addresses) as mesh:
        made = Sandbox(mesh)
        await made.view(view("rider", field("v", default=0.0), entity="rider", keys={"rider_id": "STRING"}))
        await made.model("ride")
        for version in ("1.0.0", "1.1.0"):
            await made.register("ride", version, linear(width=1), {"x": ["rider:v"]})
            await made.until_runtime("ride", version)
        await made.endpoint("ride", "ride", version="1.0.0")
        await made.write("rider", {"rider_id": ["a"]}, {"v": [1.0]})
        yield made


async def ask(own: Sandbox, metrics: Prometheus) -> None:
    """Ask well, for nobody, and mostly badly; twice, as a rate needs two looks at every counter."""
    endpoint, view = own.full("ride"), own.full("rider")
    for done in (1, 2):
        for riders, times in (({"rider_id": ["a"]}, CALLS), ({"rider_id": ["nobody"]}, CALLS), ({}, MISTAKES)):
            calls = (own.predict("ride", riders) for _ in range(times))
            await asyncio.gather(*calls, return_exceptions=True)
        # Each process is looked at in its own time.
        answered = f'sum(predictmesh_prediction_duration_seconds_count{{endpoint="{endpoint}"}})'
        metrics.until_all_are(answered, 2 * CALLS * done)
        metrics.until_all_are(f'sum(predictmesh_prediction_errors_total{{endpoint="{endpoint}"}})', MISTAKES * done)
        metrics.until_all_are(f'sum(predictmesh_feature_values_not_fresh_total{{view="{view}"}})', CALLS * done)


def test_every_service_is_scraped(running: Up, metrics: Prometheus) -> None:
    """All four answer, each under its name."""
    found = until(lambda: metrics.query("up == 1"), lambda found: len(found) == len(JOBS))
    assert {(job, running.line["http"][job]) for job in JOBS} == {
        (dict(labels)["job"], dict(labels)["instance"]) for labels in found
    }


def test_triton_is_scraped_with_the_model_service(metrics: Prometheus) -> None:
    """Its own metrics are among those of the service in front of it."""
    installed_triton()
    metrics.until_all_are("predictmesh_triton_up", 1)
    until(lambda: metrics.query('nv_cpu_memory_total_bytes{job="model"} > 0'), bool)


async def test_predictions(own: Sandbox, metrics: Prometheus) -> None:
    """What callers were answered is counted by endpoint and reason, and the recordings tell of it."""
    await ask(own, metrics)
    endpoint = f'endpoint="{own.full("ride")}"'
    found = metrics.query(f"predictmesh_prediction_errors_total{{{endpoint}}}")
    assert [("MISSING_KEY", 2 * MISTAKES)] == [(dict(labels)["reason"], value) for labels, value in found.items()]

    def recorded(name: str, **labels: str) -> None:
        chosen = ",".join([endpoint, *(f'{label}="{text}"' for label, text in labels.items())])
        metrics.until_positive(f"{name}{{{chosen}}}")

    # How much exactly promtool has been asked: here counters are looked at in the midst of it.
    recorded("endpoint:predictmesh_predictions:rate5m")
    recorded("endpoint:predictmesh_prediction_mistakes:ratio_rate5m")
    recorded("endpoint:predictmesh_prediction_duration_seconds:p99_5m")
    recorded("endpoint_reason:predictmesh_degradations:per_prediction_rate5m", reason="FEATURE_ABSENT")
    of_view = f'{{view="{own.full("rider")}",state="absent"}}'
    metrics.until_positive(f"view_state:predictmesh_feature_values_not_fresh:ratio_rate5m{of_view}")


async def test_rules_can_be_evaluated(own: Sandbox, metrics: Prometheus) -> None:
    """None of them fails on what the services tell; one that has a reason to waits for its time to be over."""
    await ask(own, metrics)
    rules = until(metrics.rules, lambda rules: all(rule["health"] != "unknown" for rule in rules))
    assert [] == [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]

    def waiting() -> set[str]:
        states = {rule["name"]: rule for rule in metrics.rules() if rule["type"] == "alerting"}
        return {alert["labels"].get("endpoint", "") for alert in states["PredictmeshRequestsMistaken"]["alerts"]}

    until(waiting, lambda found: own.full("ride") in found)
    assert not metrics.query(f'ALERTS{{alertname="PredictmeshPredictionsFailing",endpoint="{own.full("ride")}"}}')


async def test_where_a_release_is(own: Sandbox, metrics: Prometheus) -> None:
    """Its share of the callers and the time of its last step are told by the state that it is in."""
    plan = ReleasePlan(steps=[30, 100], min_requests=10**6)
    request = release_pb.StartReleaseRequest(endpoint=own.full("ride"), candidate="1.1.0", plan=plan, actor="test")
    began = time.time()
    await own.mesh.releases.StartRelease(request, timeout=TIMEOUT_S)
    chosen = f'{{endpoint="{own.full("ride")}",model_version="1.1.0",state="running"}}'
    metrics.until_all_are(f"predictmesh_release_percent{chosen}", 30)
    moved = metrics.until_positive(f"predictmesh_release_moved_timestamp_seconds{chosen}")
    assert began - 1 <= moved <= time.time() + 1


async def test_what_scaling_and_alerts_go_by(own: Sandbox, metrics: Prometheus) -> None:
    """Queues, limits, breakers, states and the freshness of features are there while nothing is wrong."""
    await own.predict("ride", {"rider_id": ["a"]})
    wanted = {
        "predictmesh_queue_rows": 0,
        "predictmesh_model_queue_rows": 0,
        "instance:predictmesh_admission:utilisation": 0,
        'predictmesh_breaker_open{hop="features"}': 0,
        'predictmesh_breaker_open{hop="model"}': 0,
        f'predictmesh_model_breaker_state{{model="{own.full("ride")}",state="open"}}': 0,
        f'predictmesh_model_state{{model="{own.full("ride")}",state="ready"}}': 1,
        "predictmesh_registry_reachable": 1,
        "service:predictmesh_snapshot_revision:behind": 0,
    }
    for expression, expected in wanted.items():
        metrics.until_all_are(expression, expected)
    metrics.until_positive(f'predictmesh_feature_age_seconds_count{{view="{own.full("rider")}"}}')


async def test_metrics_stay_when_a_caller_fails(own: Sandbox, metrics: Prometheus) -> None:
    """An endpoint that does not exist makes no series of its own, however many are asked for."""
    for number in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await own.predict(f"nobody{number}", {})
    unknown = 'predictmesh_prediction_errors_total{reason="UNKNOWN_ENDPOINT"}'
    found = until(lambda: metrics.query(unknown), bool)
    assert all("endpoint" not in dict(labels) for labels in found)
