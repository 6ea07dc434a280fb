"""What a release may not be, and what may not happen to one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from services.mesh.errors import MeshError, Reason
from services.registry.catalog import Catalog, check_catalog
from services.registry.changes import ResourceDeleted
from services.registry.definitions import (
    Endpoint,
    InputBinding,
    OutcomeKind,
    OutcomePolicy,
    QualityGuard,
    QualityMetric,
    Release,
    ReleasePlan,
    ReleaseState,
    Route,
    Signature,
    Source,
    WeightedVersion,
)
from services.registry.deleting import plan_deletion
from services.registry.faults import Faults
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
    the_endpoint,
    with_applied,
    with_release,
    with_version,
)
from tests.support.definitions import asked, endpoint, model, spec, stored
from tests.support.gates import OpenGates
from tests.support.releases import LATER, promote, start, started

ALIASES = {"champion": "1.0.0"}
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
