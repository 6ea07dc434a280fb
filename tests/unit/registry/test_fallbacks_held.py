"""What a ladder holds: versions, aliases and releases that cannot change without it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.mesh.errors import MeshError, Reason
from services.registry.applying import plan_apply
from services.registry.catalog import Catalog
from services.registry.changes import ResourceDeleted
from services.registry.definitions import (
    Fallback,
    FeatureView,
    InputBinding,
    Model,
    ReleasePlan,
    Route,
    Tensor,
    Version,
)
from services.registry.deleting import plan_deletion
from services.registry.errors import InUse
from services.registry.gates import Gate
from services.registry.releasing import Candidacy, plan_rollback, plan_start
from services.registry.vetting import Waivers
from tests.support.catalogs import NOW, a_catalog, answering, the_endpoint, with_applied, with_release, with_version
from tests.support.definitions import age, asked, column, endpoint, field, model, spec, stored, view
from tests.support.gates import OpenGates
from tests.support.ladders import ROUTE, answer, assert_importable, at, ladder, outputs, promoted, refused


class Shut(OpenGates):
    """The version 1.0.0 has not passed."""

    def gates(self, catalog: Catalog, model: Model, version: Version) -> tuple[Gate, ...]:
        """The one gate."""
        return (Gate("auc", version.version != "1.0.0", "auc is 0.5", "train longer"),)


def test_a_version_that_may_answer_has_passed_its_gates() -> None:
    """As who answers callers has; it is told at the ladder."""
    catalog = with_applied(a_catalog(), endpoint(route=ROUTE))
    with pytest.raises(MeshError) as caught:
        plan_apply(catalog, [ladder(Fallback(version="1.0.0"))], Shut(), Waivers())
    assert Reason.GATE_FAILED is caught.value.reason
    assert ["fallbacks"] == at(caught.value)
    # One that has been a step already is as good as it was.
    catalog = with_applied(catalog, ladder(Fallback(version="1.0.0")))
    plan_apply(catalog, [ladder(Fallback(version="1.0.0"), description="new")], Shut(), Waivers())


def test_a_version_of_a_ladder_stays() -> None:
    """By whatever name it is a step."""
    catalog = a_catalog("1.0.0", "1.1.0", aliases={"old": "1.0.0"})
    for selector, shown in (("1.0.0", ""), ("old", r" \(old\)"), ("1.0.x", r" \(1\.0\.x\)")):
        named = with_applied(catalog, ladder(Fallback(version=selector)))
        with pytest.raises(InUse, match=f"the fallbacks of endpoint churn{shown}"):
            plan_deletion(named, ResourceDeleted("version", "churn", "1.0.0"))


def test_an_alias_of_a_ladder_stays() -> None:
    """Without it the step would lead nowhere."""
    catalog = with_applied(a_catalog(aliases={"old": "1.0.0"}), ladder(Fallback(version="old")))
    with pytest.raises(MeshError, match="endpoint churn names alias old") as caught:
        with_applied(catalog, model())
    assert Reason.IN_USE is caught.value.reason


def test_an_alias_takes_the_ladder_along_only_where_it_fits() -> None:
    """A version that cannot stand in, or that answers already, cannot have the name."""
    catalog = with_version(a_catalog(aliases={"old": "1.0.0"}), "0.9.0", **outputs(spec("z")))
    catalog = with_applied(catalog, ladder(Fallback(version="old")))
    with pytest.raises(MeshError, match=r"follows by 1\.1\.0, old: 0\.9\.0 cannot stand in for 1\.1\.0") as caught:
        with_applied(catalog, model(old="0.9.0"))
    assert Reason.INCOMPATIBLE_CHANGE is caught.value.reason
    with pytest.raises(MeshError, match=r"follows the alias: 1\.1\.0 answers already"):
        with_applied(catalog, model(old="1.1.0"))
    with_applied(with_version(catalog, "1.0.5"), model(old="1.0.5"))


def test_a_range_takes_the_ladder_along_only_where_it_fits() -> None:
    """What another endpoint releases comes to be a step of it."""
    catalog = with_version(a_catalog("1.0.0"), "1.1.0", **outputs(spec("z")))
    catalog = with_version(catalog, "2.0.0")
    second = endpoint("second", route=Route(version="2.0.0"), fallbacks=(Fallback(version="1.x"),))
    catalog = with_applied(catalog, second)
    with pytest.raises(MeshError, match=r"endpoint second follows by 2\.0\.0, 1\.x: 1\.1\.0 cannot stand in"):
        promoted(catalog, "1.1.0")


def test_a_candidate_has_the_outputs_that_the_ladder_gives() -> None:
    """Or its failures could not be answered."""
    catalog = with_version(a_catalog("1.0.0", "1.1.0"), "1.2.0", **outputs(spec("y"), spec("z")))
    for step in (Fallback(version="1.0.0"), answer(column("y", floats=(0.5,)))):
        held = with_applied(catalog, ladder(step))
        with pytest.raises(MeshError, match=r"1\.2\.0 cannot answer churn") as caught:
            plan_start(held, Candidacy("churn", "1.2.0", "candidate", ""), ReleasePlan(), OpenGates(), NOW)
        assert Reason.INCOMPATIBLE_CHANGE is caught.value.reason


def test_a_ladder_stays_while_a_release_is_under_way() -> None:
    """The candidate was admitted by it."""
    catalog = with_applied(a_catalog("1.0.0", "1.1.0", "1.2.0"), ladder(Fallback(version="1.0.0")))
    release = plan_start(catalog, Candidacy("churn", "1.2.0", "candidate", ""), ReleasePlan(), OpenGates(), NOW)
    error = refused(with_release(catalog, release))
    assert (Reason.RELEASE_ACTIVE, ["fallbacks"]) == (error.reason, at(error))


def test_a_rollback_may_lead_to_a_step() -> None:
    """The version before is the first that one falls back to; a step of the version that answers is passed over."""
    catalog = promoted(a_catalog("1.0.0", "1.1.0"), "1.1.0")
    catalog = with_applied(catalog, ladder(Fallback(version="1.0.0")))
    back = with_release(catalog, plan_rollback(catalog, "churn", "", NOW + timedelta(minutes=5)))
    assert ["1.0.0"] == answering(back)
    assert (Fallback(version="1.0.0"),) == the_endpoint(back).fallbacks
    assert_importable(back)


def test_defaults_that_a_step_reads_do_not_change() -> None:
    """Its answers would be others than those that it was made for."""
    catalog = a_catalog("1.0.0")
    catalog = with_version(
        catalog, "1.1.0", bindings=(InputBinding("x", (*(stored("rating"),) * 2, age(), asked("hour"))),)
    )
    catalog = with_applied(catalog, ladder(Fallback(version="1.0.0")))
    changed: FeatureView = view(fields=(field(default_value=Tensor(floats=(1.0,))), field("rating")))
    with pytest.raises(MeshError, match=r"churn@1\.0\.0 reads trips and answers callers"):
        with_applied(catalog, changed)
