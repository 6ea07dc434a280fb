"""What it takes to start, hold, resume, promote and roll back, and what each makes of the definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from services.mesh.errors import MeshError, Reason
from services.registry.catalog import Catalog
from services.registry.definitions import (
    ErrorRateGuard,
    ReleasePlan,
    ReleaseState,
    Route,
    Shadow,
)
from services.registry.releasing import (
    Candidacy,
    plan_hold,
    plan_resumption,
    plan_rollback,
    plan_start,
)
from tests.support.catalogs import (
    NOW,
    a_catalog,
    answering,
    the_endpoint,
    the_model,
    with_release,
    with_version,
)
from tests.support.releases import LATER, Shut, promote, start, started


def test_a_release_starts_at_its_first_step_with_every_default() -> None:
    """What a plan leaves out is filled in, so that the log says what held."""
    release = start(a_catalog())
    assert (release.stable, release.candidate, release.state) == ("1.0.0", "1.1.0", ReleaseState.RUNNING)
    assert (release.step, release.percent, release.start_time) == (0, 5.0, NOW)
    assert release.plan.steps == (5.0, 25.0, 50.0, 100.0)
    assert release.plan.error_rate == ErrorRateGuard(0.01)


def test_while_it_is_under_way_both_versions_answer() -> None:
    """The route is as it was."""
    catalog = started(a_catalog())
    assert answering(catalog) == ["1.0.0", "1.1.0"]
    assert the_endpoint(catalog).route == Route(version="1.0.0")


ALIASES = {"champion": "1.0.0"}
ROUTES: dict[str, tuple[dict[str, Any], Callable[[Catalog], object], object]] = {
    "version": ({}, lambda catalog: the_endpoint(catalog).route, Route(version="1.1.0")),
    "alias": (
        {"aliases": ALIASES, "route": Route(alias="champion")},
        lambda catalog: the_model(catalog).aliases,
        {"champion": "1.1.0"},
    ),
    "range": (
        {"route": Route(range="1.0.x")},
        lambda catalog: the_endpoint(catalog).route,
        Route(range="1.0.x"),
    ),
}


@pytest.mark.parametrize(("parts", "led", "wanted"), ROUTES.values(), ids=ROUTES)
def test_promotion_leads_the_route_to_the_candidate_and_rollback_leads_it_back(
    parts: dict[str, Any], led: Callable[[Catalog], object], wanted: object
) -> None:
    """Whatever the route names: a version, an alias or a range."""
    candidate = "1.0.1" if wanted == Route(range="1.0.x") else "1.1.0"
    before = with_version(a_catalog("1.0.0", "1.1.0", **parts), "1.0.1")
    catalog = with_release(before, start(before, candidate))
    promoted = with_release(catalog, promote(catalog))
    assert answering(promoted) == [candidate]
    assert candidate in the_model(promoted).released_versions
    assert led(promoted) == wanted
    back = with_release(promoted, plan_rollback(promoted, "churn", "bad", LATER))
    assert answering(back) == ["1.0.0"]
    assert candidate not in the_model(back).released_versions
    assert led(back) == led(before)


def test_a_canary_that_is_rolled_back_leaves_everything_as_it_was() -> None:
    """Nothing but the release tells of it."""
    before = a_catalog()
    catalog = started(before)
    back = with_release(catalog, plan_rollback(catalog, "churn", "bad", LATER))
    assert back.releases["churn"].state is ReleaseState.ROLLED_BACK
    assert replace(back, releases={}, last_release_id=0) == before


def test_a_promoted_shadow_is_a_shadow_no_more() -> None:
    """It answers; compared with itself it would show nothing."""
    catalog = started(a_catalog(shadow=Shadow("1.1.0", 10)))
    assert the_endpoint(with_release(catalog, promote(catalog))).shadow is None


def test_hold_and_resume() -> None:
    """A step that goes on begins anew in time; both acts twice are as once."""
    catalog = started(a_catalog())
    held = plan_hold(catalog, "churn", "let me look", LATER)
    assert (held.state, held.reason, held.step_time) == (ReleaseState.HELD, "let me look", NOW)
    catalog = with_release(catalog, held)
    assert plan_hold(catalog, "churn", "again", LATER) == held
    resumed = plan_resumption(catalog, "churn", "fine", LATER)
    assert (resumed.state, resumed.step, resumed.step_time) == (ReleaseState.RUNNING, 0, LATER)
    assert plan_resumption(with_release(catalog, resumed), "churn", "again", LATER) == resumed


def test_promotion_without_a_release_is_one_that_ended_at_once() -> None:
    """So it can be rolled back like any other."""
    catalog = a_catalog()
    release = promote(catalog, "1.1.0")
    assert (release.state, release.stable, release.plan.steps) == (ReleaseState.PROMOTED, "1.0.0", (100.0,))
    promoted = with_release(catalog, release)
    assert answering(promoted) == ["1.1.0"]
    assert answering(with_release(promoted, plan_rollback(promoted, "churn", "", LATER))) == ["1.0.0"]


def test_numbers_of_releases_are_never_given_again() -> None:
    """Evidence of one can not be taken for that of another."""
    catalog = started(a_catalog())
    catalog = with_release(catalog, plan_rollback(catalog, "churn", "", LATER))
    assert start(catalog).id == 2


def test_force_passes_gates_and_says_which() -> None:
    """Without it each failed gate is named with its remedy."""
    candidacy = Candidacy("churn", "1.1.0", "candidate", "the pods cannot start before")
    with pytest.raises(MeshError) as caught:
        plan_start(a_catalog(), candidacy, ReleasePlan(), Shut(), NOW)
    assert caught.value.reason is Reason.GATE_FAILED
    assert [(each.field, each.description) for each in caught.value.violations] == [
        ("ready", "no model process has it: wait for one")
    ]
    forced = plan_start(a_catalog(), replace(candidacy, force=True), ReleasePlan(), Shut(), NOW)
    assert forced.forced_gates == ("ready",)
