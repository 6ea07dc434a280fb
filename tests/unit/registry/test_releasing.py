"""What it takes to start, hold, resume, promote and roll back, and what each makes of the definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.mesh.errors import MeshError, Reason
from services.registry.catalog import Catalog, check_catalog
from services.registry.changes import ResourceDeleted
from services.registry.definitions import (
    Endpoint,
    ErrorRateGuard,
    InputBinding,
    Model,
    OutcomeKind,
    OutcomePolicy,
    QualityGuard,
    QualityMetric,
    Release,
    ReleasePlan,
    ReleaseState,
    Route,
    Shadow,
    Signature,
    Source,
    Version,
    WeightedVersion,
)
from services.registry.deleting import plan_deletion
from services.registry.faults import Faults
from services.registry.gates import Gate
from services.registry.releasing import (
    Candidacy,
    plan_hold,
    plan_promotion,
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
    with_applied,
    with_release,
    with_version,
)
from tests.support.definitions import asked, endpoint, model, spec, stored
from tests.support.gates import OpenGates

LATER = NOW + timedelta(minutes=5)


class Shut(OpenGates):
    """One gate is never passed."""

    def gates(self, catalog: Catalog, model: Model, version: Version) -> tuple[Gate, ...]:
        """The gate `ready`."""
        return (Gate("ready", False, "no model process has it", "wait for one"),)


def start(catalog: Catalog, candidate: str = "1.1.0", plan: ReleasePlan | None = None, **parts: Any) -> Release:
    """A release of the endpoint churn, as it would start now."""
    candidacy = Candidacy("churn", candidate, "candidate", "because", **parts)
    return plan_start(catalog, candidacy, plan or ReleasePlan(), OpenGates(), NOW)


def promote(catalog: Catalog, selector: str = "") -> Release:
    """The release as it would be promoted."""
    return plan_promotion(catalog, Candidacy("churn", selector, "version", "good"), OpenGates(), LATER)


def started(catalog: Catalog) -> Catalog:
    """The catalog with a release of 1.1.0 under way."""
    return with_release(catalog, start(catalog))


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


BINARY = OutcomePolicy("y", OutcomeKind.BINARY)
AUC = ReleasePlan(quality=QualityGuard(QualityMetric.AUC, 0.02))
MAE = ReleasePlan(quality=QualityGuard(QualityMetric.MAE, 0.02))

REFUSED: dict[str, tuple[Callable[[], object], Reason, str, str]] = {
    "unknown endpoint": (
        lambda: plan_start(a_catalog(), Candidacy("x", "1.1.0", "candidate", ""), AUC, OpenGates(), NOW),
        Reason.UNKNOWN_ENDPOINT,
        "endpoint",
        "there is no endpoint 'x'",
    ),
    "no candidate": (lambda: start(a_catalog(), ""), Reason.MISSING_FIELD, "candidate", "name the version"),
    "unknown version": (
        lambda: start(a_catalog(), "3.0.0"),
        Reason.UNKNOWN_VERSION,
        "candidate",
        "it has 1.0.0, 1.1.0",
    ),
    "unknown alias": (lambda: start(a_catalog(), "best"), Reason.UNKNOWN_ALIAS, "candidate", "no churn@best"),
    "empty range": (lambda: start(a_catalog(), "2.x"), Reason.UNKNOWN_VERSION, "candidate", "no churn@2.x"),
    "itself": (lambda: start(a_catalog(), "1.0.0"), Reason.INVALID_DEFINITION, "candidate", "answers churn already"),
    "no outcomes": (
        lambda: start(a_catalog(), plan=AUC),
        Reason.INVALID_DEFINITION,
        "plan.quality",
        "keeps no outcomes",
    ),
    "wrong measure": (
        lambda: start(a_catalog(outcomes=BINARY), plan=MAE),
        Reason.INVALID_DEFINITION,
        "plan.quality.metric",
        "MAE is no measure of BINARY outcomes",
    ),
    "bad plan": (
        lambda: start(a_catalog(), plan=ReleasePlan(steps=(50, 5, 100))),
        Reason.INVALID_DEFINITION,
        "plan.steps",
        "ascend",
    ),
    "weights": (
        lambda: start(a_catalog(route=Route(weights=(WeightedVersion("1.0.0", 50), WeightedVersion("1.1.0", 50))))),
        Reason.INVALID_DEFINITION,
        "endpoint",
        "route the endpoint to one",
    ),
    "older in a range": (
        lambda: start(with_version(a_catalog("1.0.1", route=Route(range="1.0.x")), "1.0.0"), "1.0.0"),
        Reason.INVALID_DEFINITION,
        "candidate",
        "would still lead to 1.0.1",
    ),
    "beyond a range": (
        lambda: start(a_catalog(route=Route(range="1.0.x"))),
        Reason.INVALID_DEFINITION,
        "candidate",
        "the range 1.0.x would still lead to 1.0.0",
    ),
    "twice": (
        lambda: start(started(a_catalog())),
        Reason.RELEASE_ACTIVE,
        "endpoint",
        "a release of 1.1.0 is under way",
    ),
    "promote another": (
        lambda: promote(started(a_catalog()), "1.0.0"),
        Reason.RELEASE_ACTIVE,
        "version",
        "a release of 1.1.0 is under way",
    ),
    "hold nothing": (lambda: plan_hold(a_catalog(), "churn", "", NOW), Reason.NO_RELEASE, "endpoint", "under way"),
    "resume nothing": (
        lambda: plan_resumption(a_catalog(), "churn", "", NOW),
        Reason.NO_RELEASE,
        "endpoint",
        "under way",
    ),
    "back from nothing": (
        lambda: plan_rollback(a_catalog(), "churn", "", NOW),
        Reason.NO_RELEASE,
        "endpoint",
        "has had no release",
    ),
}


@pytest.mark.parametrize(("act", "reason", "field", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused(act: Callable[[], object], reason: Reason, field: str, message: str) -> None:
    """With the field, and what would do instead."""
    with pytest.raises(MeshError) as caught:
        act()
    assert caught.value.reason is reason
    assert caught.value.violations[0].field == field
    assert message in caught.value.message


def test_an_alias_that_leads_others_too_is_not_moved_by_a_release() -> None:
    """They would follow to a version that was tried at this endpoint only."""
    catalog = a_catalog(aliases=ALIASES, route=Route(alias="champion"))
    catalog = with_applied(catalog, endpoint("second", route=Route(alias="champion")))
    with pytest.raises(MeshError, match="also leads second") as caught:
        start(catalog)
    assert caught.value.reason is Reason.IN_USE


def test_a_candidate_must_answer_what_the_endpoint_promises() -> None:
    """Here outcomes are kept of an output that it does not have."""
    other = Signature((spec(shape=(4,)),), (spec("z"),))
    catalog = with_version(a_catalog("1.0.0", outcomes=BINARY), "1.1.0", signature=other)
    with pytest.raises(MeshError, match="no output 'y'") as caught:
        start(catalog)
    assert caught.value.reason is Reason.INCOMPATIBLE_CHANGE


ASKED_OTHERWISE: dict[str, tuple[tuple[Source, ...], str]] = {
    "no key": ((asked("hour"), asked("minute")), "key column rider_id"),
    "a feature more": ((stored("trips"), asked("hour"), asked("minute")), "request-time feature minute"),
    "a feature less": ((stored("trips"), stored("rating")), "request-time feature hour"),
}


@pytest.mark.parametrize(("sources", "differing"), ASKED_OTHERWISE.values(), ids=ASKED_OTHERWISE)
@pytest.mark.parametrize("act", [start, promote])
def test_a_candidate_takes_what_callers_send(
    act: Callable[[Catalog, str], Release], sources: tuple[Source, ...], differing: str
) -> None:
    """Otherwise its share of them would be refused for a fault of their own, which speaks against no version."""
    signature = Signature((spec(shape=(len(sources),)),), (spec("y"),))
    catalog = with_version(a_catalog("1.0.0"), "1.1.0", signature=signature, bindings=(InputBinding("x", sources),))
    with pytest.raises(MeshError, match=differing) as caught:
        act(catalog, "1.1.0")
    assert caught.value.reason is Reason.INCOMPATIBLE_CHANGE
    assert caught.value.violations[0].field in {"candidate", "version"}


def test_a_candidate_may_read_more_that_is_stored() -> None:
    """Of the same keys; callers do not see it."""
    sources = (stored("trips"), asked("hour"))
    signature = Signature((spec(shape=(2,)),), (spec("y"),))
    catalog = with_version(a_catalog("1.0.0"), "1.1.0", signature=signature, bindings=(InputBinding("x", sources),))
    assert start(catalog).candidate == "1.1.0"


def test_rollback_of_a_promotion_needs_the_route_that_it_left() -> None:
    """If somebody has routed elsewhere since, the version before the release is not what he wants back."""
    catalog = started(a_catalog("1.0.0", "1.1.0", "1.2.0"))
    catalog = with_release(catalog, promote(catalog))
    catalog = with_applied(catalog, endpoint(route=Route(version="1.2.0")))
    with pytest.raises(MeshError, match=r"1\.2\.0 answers now"):
        plan_rollback(catalog, "churn", "", LATER)


FROZEN: dict[str, Endpoint] = {
    "route": endpoint(route=Route(version="1.1.0")),
    "sticky_key": endpoint(route=Route(version="1.0.0"), sticky_key="rider_id"),
    "outcomes": endpoint(route=Route(version="1.0.0"), outcomes=BINARY),
}


@pytest.mark.parametrize(("field", "changed"), FROZEN.items(), ids=FROZEN)
def test_what_a_release_rests_on_cannot_change_under_it(field: str, changed: Endpoint) -> None:
    """Its evidence would no longer be of one thing. Texts may change."""
    catalog = started(a_catalog())
    with pytest.raises(MeshError) as caught:
        with_applied(catalog, changed)
    assert caught.value.reason is Reason.RELEASE_ACTIVE
    assert caught.value.violations[0].field == f"resources[0].endpoint.{field}"
    described = endpoint(route=Route(version="1.0.0"), description="new")
    assert the_endpoint(with_applied(catalog, described)).description == "new"


def test_the_alias_of_a_release_cannot_move_under_it() -> None:
    """Promotion moves it."""
    catalog = started(a_catalog(aliases=ALIASES, route=Route(alias="champion")))
    with pytest.raises(MeshError) as caught:
        with_applied(catalog, model(champion="1.1.0"))
    assert caught.value.reason is Reason.RELEASE_ACTIVE


def test_the_versions_of_a_release_cannot_be_deleted() -> None:
    """Neither of the two that answer."""
    for number in ("1.0.0", "1.1.0"):
        with pytest.raises(MeshError) as caught:
            plan_deletion(started(a_catalog()), ResourceDeleted("version", "churn", number))
        assert caught.value.reason is Reason.IN_USE


SPOILED: dict[str, Callable[[Release], Release]] = {
    "a version that is not there": lambda release: replace(release, candidate="9.9.9"),
    "a step beyond the plan": lambda release: replace(release, step=4),
    "a plan that descends": lambda release: replace(release, plan=ReleasePlan(steps=(50.0, 5.0, 100.0))),
    "no state": lambda release: replace(release, state=ReleaseState.UNSPECIFIED),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_release_of_another_log_must_be_one(spoil: Callable[[Release], Release]) -> None:
    """What could not have come about here is refused when it is imported; what could is not."""
    catalog = a_catalog()
    release = start(catalog)
    sound, broken = Faults(), Faults()
    check_catalog(with_release(catalog, release), sound)
    check_catalog(with_release(catalog, promote(catalog, "1.1.0")), sound)
    check_catalog(with_release(catalog, spoil(release)), broken)
    assert not sound
    assert broken
