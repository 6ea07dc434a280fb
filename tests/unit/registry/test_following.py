"""What moves beside the endpoint that a change is about: other endpoints of the same alias, or whose range follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from services.mesh.errors import MeshError, Reason
from services.registry.catalog import Catalog, check_catalog
from services.registry.definitions import (
    OutcomeKind,
    OutcomePolicy,
    Release,
    ReleasePlan,
    ReleaseState,
    Route,
    Shadow,
    Signature,
)
from services.registry.faults import Faults
from services.registry.releasing import Candidacy, plan_promotion, plan_rollback, plan_start
from tests.support.catalogs import NOW, a_catalog, answering, the_model, with_applied, with_release, with_version
from tests.support.definitions import endpoint, model, spec
from tests.support.gates import OpenGates

LATER = NOW + timedelta(minutes=5)
BINARY = OutcomePolicy("y", OutcomeKind.BINARY)
# A version without the output that BINARY is about.
OTHER = {"signature": Signature((spec(shape=(4,)),), (spec("z"),))}


def start(catalog: Catalog, candidate: str = "1.1.0", at: str = "churn") -> Release:
    """A release as it would start now."""
    return plan_start(catalog, Candidacy(at, candidate, "candidate", ""), ReleasePlan(), OpenGates(), NOW)


def started(catalog: Catalog, candidate: str = "1.1.0", at: str = "churn") -> Catalog:
    """The catalog with a release under way."""
    return with_release(catalog, start(catalog, candidate, at))


def promote(catalog: Catalog, selector: str = "", at: str = "churn") -> Catalog:
    """The catalog after a promotion."""
    return with_release(catalog, plan_promotion(catalog, Candidacy(at, selector, "version", ""), OpenGates(), LATER))


def rolled_back(catalog: Catalog, at: str = "churn") -> Catalog:
    """The catalog after a rollback."""
    return with_release(catalog, plan_rollback(catalog, at, "", LATER))


def assert_importable(catalog: Catalog) -> None:
    """Every rule that an import asks for holds."""
    faults = Faults()
    check_catalog(catalog, faults)
    assert [] == faults.descriptions


def at_second(catalog: Catalog) -> list[str]:
    """Versions that answer the endpoint `second`."""
    return [version.version for version in catalog.answering(catalog.endpoints["second"])]


def test_an_alias_does_not_move_under_a_release_whose_endpoint_is_applied_with_it() -> None:
    """Though what is applied of the endpoint is another text only."""
    catalog = started(a_catalog(aliases={"champion": "1.0.0"}, route=Route(alias="champion")))
    with pytest.raises(MeshError) as caught:
        with_applied(catalog, model(champion="1.1.0"), endpoint(description="new"))
    assert Reason.RELEASE_ACTIVE is caught.value.reason
    assert "resources[1].endpoint.route" == caught.value.violations[0].field


def test_promotion_does_not_take_along_who_came_to_the_alias_meanwhile() -> None:
    """Just as a release of an alias that leads two endpoints does not start."""
    catalog = started(a_catalog(aliases={"champion": "1.0.0"}, route=Route(alias="champion")))
    catalog = with_applied(catalog, endpoint("second"))
    with pytest.raises(MeshError, match="also leads second") as caught:
        promote(catalog)
    assert Reason.IN_USE is caught.value.reason


def test_rollback_does_not_take_along_who_came_to_the_alias_since() -> None:
    """Its callers would get a version that nobody has tried there."""
    catalog = promote(started(a_catalog(aliases={"champion": "1.0.0"}, route=Route(alias="champion"))))
    catalog = with_applied(catalog, endpoint("second"))
    with pytest.raises(MeshError, match="also leads second") as caught:
        rolled_back(catalog)
    assert Reason.IN_USE is caught.value.reason


def test_rollback_needs_a_version_that_can_still_answer() -> None:
    """The endpoint may promise more since: here outcomes of an output that only the newer version has."""
    catalog = with_version(a_catalog("1.0.0", "1.1.0"), "1.0.1", **OTHER)
    catalog = with_applied(catalog, endpoint(route=Route(version="1.0.1")))
    catalog = with_applied(promote(started(catalog)), endpoint(route=Route(version="1.1.0"), outcomes=BINARY))
    with pytest.raises(MeshError, match="no output 'y'") as caught:
        rolled_back(catalog)
    assert Reason.INCOMPATIBLE_CHANGE is caught.value.reason


def test_rollback_needs_the_very_version_that_answered() -> None:
    """One that was deleted and registered anew since has passed no gates."""
    catalog = promote(started(a_catalog()))
    before = the_model(catalog)
    anew = tuple(replace(each, create_time=LATER) if each.version == "1.0.0" else each for each in before.versions)
    with pytest.raises(MeshError, match="registered anew") as caught:
        rolled_back(catalog.with_model(replace(before, versions=anew)))
    assert Reason.NO_RELEASE is caught.value.reason


def test_a_release_is_of_the_model_that_the_endpoint_has() -> None:
    """With another model the last release is none of this endpoint's any more, whatever its versions are called."""
    catalog = promote(started(a_catalog()))
    catalog = catalog.with_model(replace(the_model(catalog), name="other", aliases={}))
    catalog = with_applied(catalog, endpoint(model="other", route=Route(version="1.1.0")))
    with pytest.raises(MeshError, match="has had no release") as caught:
        rolled_back(catalog)
    assert Reason.NO_RELEASE is caught.value.reason


FOLLOWED = ["release", "promotion", "route"]


def follow(catalog: Catalog, how: str) -> None:
    """Let 1.1.0 be released by an act at the endpoint churn."""
    if how == "release":
        start(catalog)
    elif how == "promotion":
        promote(catalog, "1.1.0")
    else:
        with_applied(catalog, endpoint(route=Route(version="1.1.0")))


@pytest.mark.parametrize("how", FOLLOWED)
def test_what_is_released_can_answer_whoever_follows_by_a_range(how: str) -> None:
    """Here it has not the output that the other endpoint keeps outcomes of."""
    catalog = with_version(a_catalog("1.0.0"), "1.1.0", **OTHER)
    catalog = with_applied(catalog, endpoint("second", route=Route(range="1.x"), outcomes=BINARY))
    with_second = catalog.with_model(replace(the_model(catalog), released_versions=("1.0.0",)))
    with pytest.raises(MeshError, match=r"second follows .* no output 'y'") as caught:
        follow(with_second, how)
    assert Reason.INCOMPATIBLE_CHANGE is caught.value.reason


@pytest.mark.parametrize("how", FOLLOWED)
def test_a_range_does_not_move_under_a_release(how: str) -> None:
    """Its stable version would be another than the one that is compared."""
    catalog = a_catalog("1.0.0", "1.0.1", "1.1.0")
    catalog = with_applied(catalog, endpoint("second", route=Route(version="1.0.0")))
    catalog = with_applied(catalog, endpoint("second", route=Route(range="1.x")))
    with pytest.raises(MeshError) as caught:
        follow(started(catalog, "1.0.1", at="second"), how)
    assert Reason.RELEASE_ACTIVE is caught.value.reason
    assert "second" in caught.value.message


def test_a_range_follows_what_another_endpoint_has_released_and_back() -> None:
    """That is what a range is for."""
    catalog = with_applied(a_catalog(), endpoint("second", route=Route(range="1.x")))
    assert ["1.0.0"] == at_second(catalog)
    promoted = promote(started(catalog))
    assert ["1.1.0"] == at_second(promoted)
    assert ["1.0.0"] == at_second(rolled_back(promoted))


def test_a_rollback_releases_nothing_new() -> None:
    """A range that has nothing else keeps the version: the newest in it was never released."""
    catalog = with_version(promote(started(a_catalog())), "1.1.5")
    catalog = with_applied(catalog, endpoint("second", route=Route(range="1.1.x")))
    assert ["1.1.0"] == at_second(catalog)
    back = rolled_back(catalog)
    assert (["1.0.0"], ["1.1.0"]) == (answering(back), at_second(back))
    assert "1.1.5" not in the_model(back).released_versions
    assert_importable(back)


def test_shadows_that_have_come_to_be_the_version_that_answers_can_be_imported() -> None:
    """An alias or a range has led them there; they ask nobody until it leads on."""
    catalog = a_catalog(aliases={"champion": "1.0.0"}, route=Route(alias="champion"))
    shadow = Shadow("champion", 10)
    catalog = with_applied(catalog, endpoint("second", route=Route(version="1.1.0"), shadow=shadow))
    assert_importable(promote(started(catalog)))


def test_a_promotion_at_once_is_a_release_that_can_be_imported() -> None:
    """As is its rollback."""
    promoted = promote(a_catalog(), "1.1.0")
    assert ReleaseState.PROMOTED is promoted.releases["churn"].state
    assert_importable(promoted)
    assert_importable(rolled_back(promoted))


def test_a_rollback_that_would_change_nothing_is_refused() -> None:
    """The range still leads to the version, which another endpoint names by itself since."""
    catalog = with_applied(a_catalog(), endpoint(route=Route(range="1.x")))
    catalog = with_applied(promote(started(catalog)), endpoint("second", route=Route(version="1.1.0")))
    with pytest.raises(MeshError, match=r"the range 1\.x would still lead to 1\.1\.0: route churn to a version"):
        rolled_back(catalog)


def test_a_shadow_by_a_range_needs_a_released_version() -> None:
    """Or it would lead nowhere, as those of callers do who pin such a range."""
    catalog = a_catalog("1.0.0", "2.0.0")
    with pytest.raises(MeshError, match=r"no version in 2\.x has been released") as caught:
        with_applied(catalog, endpoint(route=Route(version="1.0.0"), shadow=Shadow("2.x", 10)))
    assert "resources[0].endpoint.shadow.selector" == caught.value.violations[0].field
