"""Which ladders an endpoint can have."""

from __future__ import annotations

import re
from typing import Any

import pytest

from predictmesh.registry.v1.endpoint_pb2 import Endpoint as PbEndpoint
from services.mesh.errors import Reason
from services.registry.applying import plan_apply
from services.registry.catalog import Catalog
from services.registry.convert import decode, encode
from services.registry.definitions import (
    DataType,
    Endpoint,
    Fallback,
    InputBinding,
    Route,
    StaticAnswer,
    Tensor,
    WeightedVersion,
)
from services.registry.diff import Action
from services.registry.vetting import Waivers
from tests.support.catalogs import a_catalog, the_endpoint, with_applied, with_version
from tests.support.definitions import age, asked, column, model, spec, stored
from tests.support.gates import OpenGates
from tests.support.ladders import HOUR_MS, answer, assert_importable, at, ladder, outputs, refused


def test_a_whole_ladder_is_taken() -> None:
    """A simpler version, the last answer, and what is always the same."""
    steps = (Fallback(version="1.0.0"), Fallback(last_answer_max_age_ms=HOUR_MS), answer(column("y", floats=(0.2,))))
    catalog = with_applied(a_catalog(), ladder(*steps))
    assert steps[:2] == the_endpoint(catalog).fallbacks[:2]
    assert_importable(catalog)


def test_a_static_answer_is_completed() -> None:
    """Written without a type, it has the output's type and shape from then on, as it comes back from the log."""
    catalog = with_version(a_catalog(), "2.0.0", **outputs(spec("p", shape=(2,)), spec("n", DataType.UINT64)))
    given = answer(column("n", ints=(7,)), column("p", doubles=(0.1, 1 / 3), shape=(1, 2)))
    catalog = with_applied(catalog, ladder(given, route=Route(version="2.0.0")))
    (step,) = the_endpoint(catalog).fallbacks
    p = Tensor("p", DataType.FP32, (1, 2), floats=(0.1, 0.33333334))
    assert StaticAnswer((p, Tensor("n", DataType.UINT64, (1,), uints=(7,)))) == step.answer
    assert the_endpoint(catalog) == decode(encode(the_endpoint(catalog), PbEndpoint()), Endpoint)


def test_what_was_completed_is_not_changed_by_applying_it_again() -> None:
    """The same document is the same ladder."""
    given = ladder(answer(column("y", doubles=(1 / 3,), shape=(1, 1))))
    catalog = with_applied(a_catalog(), given)
    (change,) = plan_apply(catalog, [given], OpenGates(), Waivers()).changes
    assert Action.UNCHANGED is change.action


def test_steps_are_compared_one_by_one() -> None:
    """Whoever applies another ladder sees what differs."""
    catalog = with_applied(a_catalog("1.0.0", "1.1.0", "1.0.5"), ladder(Fallback(version="1.0.0")))
    wanted = ladder(Fallback(version="1.0.5"), Fallback(last_answer_max_age_ms=HOUR_MS))
    (change,) = plan_apply(catalog, [wanted], OpenGates(), Waivers()).changes
    assert [
        ("fallbacks[0].version", '"1.0.0"', '"1.0.5"'),
        ("fallbacks[1].last_answer_max_age_ms", "", "3600000"),
    ] == [(each.path, each.before, each.after) for each in change.fields]


def test_an_answer_finds_its_types_by_an_alias_that_comes_with_it() -> None:
    """One apply names the version and answers for it."""
    (step,) = the_endpoint(
        with_applied(a_catalog(), ladder(answer(column("y", ints=(1,))), route=Route(alias="new")), model(new="1.1.0"))
    ).fallbacks
    assert step.answer == StaticAnswer((Tensor("y", DataType.FP32, (1,), floats=(1.0,)),))


@pytest.mark.parametrize(
    ("step", "reason", "why"),
    [
        (Fallback(version="9.0.0"), Reason.UNKNOWN_VERSION, r"there is no churn@9\.0\.0; it has 1\.0\.0, 1\.1\.0"),
        (Fallback(version="simple"), Reason.UNKNOWN_ALIAS, "has no alias 'simple'"),
        (Fallback(version="9.x"), Reason.UNKNOWN_VERSION, r"there is no churn@9\.x"),
        (Fallback(version="1.1.0"), Reason.INVALID_DEFINITION, r"1\.1\.0 answers already"),
        (Fallback(), Reason.INVALID_DEFINITION, "a step is a version, the last answer, or a static answer"),
        (Fallback("1.0.0", HOUR_MS), Reason.INVALID_DEFINITION, "a step is a version, the last"),
        (Fallback(last_answer_max_age_ms=999), Reason.INVALID_DEFINITION, r"1000 \(a second\) to 604800000 \(a week\)"),
        (Fallback(last_answer_max_age_ms=604_800_001), Reason.INVALID_DEFINITION, r"\(a week\)"),
        (Fallback(last_answer_max_age_ms=-1), Reason.INVALID_DEFINITION, r"\(a week\)"),
    ],
)
def test_a_step_that_cannot_be(step: Fallback, reason: Reason, why: str) -> None:
    """It is refused where it stands, once."""
    error = refused(a_catalog(), step)
    assert reason is error.reason
    assert re.search(why, error.message)
    (path,) = at(error)
    assert path.startswith("fallbacks[0]")


Y = spec("y")


@pytest.mark.parametrize(
    ("values", "path", "why"),
    [
        ((), "outputs", "no value of y is written: a row has one of every output"),
        ((column("z", floats=(1.0,)),), "outputs[0].name", "there is no output 'z', but y"),
        ((column("y", floats=(1.0,)), column("y", floats=(1.0,))), "outputs[1].name", "'y' is there twice"),
        ((column("y", floats=(1.0, 2.0)),), "outputs[0]", "has 2 values, a row of y has 1"),
        ((column("y"),), "outputs[0]", "output y takes finite values of FP32"),
        ((column("y", strings=("late",)),), "outputs[0]", "output y takes finite values of FP32"),
        ((column("y", floats=(float("nan"),)),), "outputs[0]", "output y takes finite values of FP32"),
        ((column("y", doubles=(1e39,)),), "outputs[0]", "output y takes finite values of FP32"),
        ((column("y", data_type=DataType.FP64, doubles=(1.0,)),), "outputs[0]", "output y takes finite values of"),
        ((column("y", floats=(1.0,), shape=(2, 1)),), "outputs[0].shape", "a row of y is []"),
        ((column("y", floats=(1.0,), null_rows=(0,)),), "outputs[0].null_rows", "an output has no null"),
    ],
)
def test_a_static_answer_that_is_no_row(values: tuple[Tensor, ...], path: str, why: str) -> None:
    """What callers would be given must be what they are promised."""
    error = refused(a_catalog(), answer(*values))
    assert Reason.INVALID_DEFINITION is error.reason
    assert f"fallbacks[0].answer.{path}" in at(error)
    assert why in error.message


def test_nothing_comes_after_a_static_answer() -> None:
    """It cannot fail."""
    error = refused(a_catalog(), answer(column("y", floats=(1.0,))), Fallback(version="1.0.0"))
    assert ["fallbacks[0].answer"] == at(error)


def test_a_version_is_no_two_steps() -> None:
    """Whatever leads to it; neither is the last answer."""
    catalog = a_catalog(aliases={"old": "1.0.0"})
    error = refused(catalog, Fallback(version="old"), Fallback(version="1.0.0"))
    assert (["fallbacks[1].version"], True) == (at(error), "1.0.0 and old are both 1.0.0" in error.message)
    error = refused(catalog, Fallback(version="1.0.0"), Fallback(version="1.0.0"))
    assert (["fallbacks[1].version"], True) == (at(error), "1.0.0 is a step already" in error.message)
    error = refused(catalog, *(Fallback(last_answer_max_age_ms=each * HOUR_MS) for each in (1, 2)))
    assert ["fallbacks[1].last_answer_max_age_ms"] == at(error)


def test_a_ladder_has_an_end() -> None:
    """Nobody waits for nine versions."""
    numbers = [f"1.0.{patch}" for patch in range(9)]
    catalog = a_catalog(*numbers, "1.1.0")
    assert ["fallbacks"] == at(refused(catalog, *(Fallback(version=number) for number in numbers)))


def test_a_range_needs_a_released_version() -> None:
    """Or the step would lead nowhere."""
    error = refused(a_catalog("1.0.0", "1.1.0", "2.0.0"), Fallback(version="2.x"))
    assert "no version in 2.x has been released" in error.message
    with_applied(a_catalog(), ladder(Fallback(version="1.0.x")))


def with_keyless(catalog: Catalog, number: str) -> Catalog:
    """A version that takes request-time values alone."""
    bindings = (InputBinding("x", (asked("a"), asked("b"), asked("c"), asked("d"))),)
    return with_version(catalog, number, bindings=bindings)


def test_last_answers_are_found_by_keys() -> None:
    """A version that is asked without any has none."""
    error = refused(with_keyless(a_catalog(), "3.0.0"), Fallback(last_answer_max_age_ms=HOUR_MS), route=Route("3.0.0"))
    assert "3.0.0 is asked without entity keys" in error.message


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (outputs(spec("z")), "it has no output y, has an output z besides"),
        (outputs(Y, spec("z")), "it has an output z besides"),
        (outputs(spec("y", DataType.FP64)), "it answers y as FP64 [], not FP32 []"),
        (outputs(spec("y", shape=(1,))), "it answers y as FP32 [1], not FP32 []"),
        (
            {"bindings": (InputBinding("x", (stored("trips"), stored("rating"), age(), asked("minute"))),)},
            "it takes another request-time feature hour, request-time feature minute",
        ),
    ],
)
def test_a_version_that_cannot_stand_in(parts: dict[str, Any], why: str) -> None:
    """It takes what callers send to the route's version, and has its outputs."""
    error = refused(with_version(a_catalog(), "0.9.0", **parts), Fallback(version="0.9.0"))
    assert f"0.9.0 cannot stand in for 1.1.0: {why}" in error.message
    assert ["fallbacks[0].version"] == at(error)


def test_outputs_need_not_be_finite_alike() -> None:
    """A mean of finite values is finite, whether or not the versions that it is made of promise to be, who stand in for it."""
    catalog = with_version(a_catalog(), "2.0.0", **outputs(spec("y", finite=True)))
    with_applied(catalog, ladder(Fallback(version="1.0.0"), route=Route(version="2.0.0")))
    with_applied(catalog, ladder(Fallback(version="2.0.0")))


def test_outputs_are_the_same_in_any_order() -> None:
    """They have names."""
    catalog = with_version(a_catalog(), "2.0.0", **outputs(spec("y"), spec("z")))
    catalog = with_version(catalog, "2.0.1", **outputs(spec("z"), spec("y")))
    with_applied(catalog, ladder(Fallback(version="2.0.0"), route=Route(version="2.0.1")))


def test_every_version_of_a_route_with_weights_needs_the_ladder() -> None:
    """One of them may stand in for the others."""
    weights = Route(weights=(WeightedVersion("1.0.0", 50), WeightedVersion("1.1.0", 50)))
    with_applied(a_catalog(), ladder(Fallback(version="1.0.0"), route=weights))
    catalog = with_version(a_catalog("1.0.0"), "1.1.0", **outputs(spec("z")))
    assert ["fallbacks[0].version"] == at(refused(catalog, Fallback(version="1.0.0"), route=weights))
    static = refused(catalog, answer(column("y", floats=(1.0,))), route=weights)
    assert ["fallbacks[0].answer.outputs[0].name", "fallbacks[0].answer.outputs"] == at(static)
