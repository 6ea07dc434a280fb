"""Endpoints with several versions, shadows and outcomes: their YAML form, and what is refused of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from predictmesh.registry.v1.endpoint_pb2 import Endpoint, OutcomeKind
from services.cli.errors import Mistake
from services.cli.resources.endpoints import show_endpoint
from services.cli.resources.files import read_resources

HEAD = "kind: Endpoint\nname: delay\nmodel: delay\n"
ROUTE = "route: {version: 1.0.0}\n"
SHADOW = "shadow: {version: candidate, percent: 12.5, absolute_tolerance: 0.001, relative_tolerance: 1.0e-05}\n"
FALLBACKS = """\
fallbacks:
- version: 1.0.0
- last_answer: 10m
- answer: {probability: [0.25], label: late, grid: [[1, 2], [3, 4]]}
"""
OUTCOMES = "outcomes: {output: p, element: 1, kind: binary, sample_percent: 50, expire: 7d, capture_percent: 0.01}\n"


def read(directory: Path, text: str) -> Endpoint:
    """Return the endpoint that the YAML text defines."""
    file = directory / "endpoint.yaml"
    file.write_text(HEAD + text)
    return read_resources([file])[0][1].endpoint


@pytest.mark.parametrize(
    "text",
    [
        "route: {range: 1.x}\n",
        "route: {weights: {1.1.0: 5, champion: 94.99, 2.x: 0.01}}\nsticky_key: tail\n",
        ROUTE + SHADOW,
        f"{ROUTE}shadow: {{version: 1.x, percent: 100}}\n",
        ROUTE + OUTCOMES,
        ROUTE + FALLBACKS,
        ROUTE + "outcomes: {output: y, kind: regression}\n",
    ],
)
def test_what_is_shown_is_what_was_read(tmp_path: Path, text: str) -> None:
    """The YAML form of an endpoint is the document that it was read from."""
    assert yaml.safe_load(HEAD + text) == show_endpoint(read(tmp_path, text))


def test_weights_stay_in_order(tmp_path: Path) -> None:
    """The order of the weights reaches the registry: by it a change of shares moves as few callers as it can."""
    endpoint = read(tmp_path, "route: {weights: {1.1.0: 5, 1.0.0: 95}}\n")
    assert [("1.1.0", 5.0), ("1.0.0", 95.0)] == [(each.selector, each.percent) for each in endpoint.route.weights]
    assert ["1.1.0", "1.0.0"] == list(show_endpoint(endpoint)["route"]["weights"])  # type: ignore[index]


def test_ladder_in_the_units_of_the_registry(tmp_path: Path) -> None:
    """The steps reach the message in order, times in milliseconds, and values with their types open."""
    version, last, static = read(tmp_path, ROUTE + FALLBACKS).fallbacks
    assert ("1.0.0", 600_000) == (version.version, last.last_answer_max_age_ms)
    probability, label, grid = static.answer.outputs
    assert ([0.25], [1, 1]) == (list(probability.doubles), list(probability.shape))
    assert (["late"], []) == (list(label.strings), list(label.shape))
    assert ([1, 2, 3, 4], [1, 2, 2]) == (list(grid.ints), list(grid.shape))


def test_policy_in_the_units_of_the_registry(tmp_path: Path) -> None:
    """What is kept reaches the message, times in milliseconds."""
    policy = read(tmp_path, ROUTE + OUTCOMES).outcomes
    assert ("p", 1, OutcomeKind.OUTCOME_KIND_BINARY) == (policy.output, policy.element, policy.kind)
    assert (50, 604_800_000, 0.01) == (policy.sample_percent, policy.expire_ms, policy.capture_percent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("route: {weights: {}}", "route.weights: must hold VERSION: PERCENT"),
        ("route: {weights: {1.0: 5}}", "route.weights: the key 1.0 must be text: quote it"),
        ("route: {weights: {1.0.0: 0}}", r"route.weights.1.0.0: 0 is no share in percent"),
        ("route: {weights: {1.0.0: 100.5}}", r"route.weights.1.0.0: 100.5 is no share in percent"),
        ("route: {weights: {1.0.0: 5%}}", "route.weights.1.0.0: must be a number, not text '5%'"),
        ("route: {weights: {1.0.0: 100}, alias: a}", "route: must name one of"),
        ("route: {weight: {1.0.0: 100}}", r"route.weight: unknown key \(did you mean weights\?\)"),
        ("route: {range: 1.0}", "route.range: must be text, not a number 1.0: quote it"),
        (ROUTE + "shadow: {version: 1.1.0}", "shadow: percent is missing"),
        (ROUTE + SHADOW.replace("0.001", "-1"), "shadow.absolute_tolerance: -1 is less than 0"),
        (ROUTE + SHADOW.replace("1.0e-05", ".inf"), "shadow.relative_tolerance: must be finite"),
        (ROUTE + OUTCOMES.replace("binary", "ranking"), "outcomes.kind: 'ranking' is none of binary, regression"),
        (ROUTE + OUTCOMES.replace("7d", "0s"), "outcomes.expire: '0s' must be longer than nothing"),
        (ROUTE + OUTCOMES.replace("50", "0"), "outcomes.sample_percent: 0 is no share in percent"),
        (ROUTE + OUTCOMES.replace("element: 1", "element: -1"), "outcomes.element: -1 is outside of 0 to"),
        (ROUTE + "fallbacks: {version: 1.0.0}", "fallbacks: must be a list, not a mapping"),
        (ROUTE + "fallbacks: [{}]", r"fallbacks\[0\]: must be one of version, last_answer, answer"),
        (ROUTE + "fallbacks: [{version: 1.0.0, answer: {p: 1}}]", r"fallbacks\[0\]: must be one of version"),
        (ROUTE + "fallbacks: [{last_answer: 0s}]", r"fallbacks\[0\].last_answer: '0s' must be longer than nothing"),
        (ROUTE + "fallbacks: [{answer: {}}]", r"fallbacks\[0\].answer: must hold OUTPUT: VALUE"),
        (ROUTE + "fallbacks: [{answer: {p: [1, {}]}}]", r"fallbacks\[0\].answer.p\[1\]: {} is no value of an output"),
        (ROUTE + "sticky_key: [tail]", "sticky_key: must be text, not a list"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Whatever is wrong is refused before anything is sent, and the message says where it stands."""
    with pytest.raises(Mistake, match=f"document 1, {message}"):
        read(tmp_path, text)
