"""Which version answers, and what is said when none does."""

from __future__ import annotations

import pytest

from services.gateway.convert_snapshot import TableBuilder
from services.gateway.errors import UnknownEndpoint, UnknownVersion
from services.gateway.routing import Endpoint, RouteReason
from tests.support.predictions import snapshot, version


@pytest.fixture
def endpoint() -> Endpoint:
    """Two versions, each with an alias."""
    versions = [version({"x:FP32": ["x"]}, number=number) for number in ("1.0.0", "1.1.0")]
    return TableBuilder().build(snapshot(versions=versions, live="1.0.0", next="1.1.0")).endpoint("m")


@pytest.mark.parametrize(
    ("pin", "answers", "reason"),
    [
        ("", "1.0.0", RouteReason.ENDPOINT_ALIAS),
        ("1.1.0", "1.1.0", RouteReason.PINNED),
        ("next", "1.1.0", RouteReason.PINNED_ALIAS),
    ],
)
def test_choice(endpoint: Endpoint, pin: str, answers: str, reason: RouteReason) -> None:
    """A version, then an alias, then the endpoint's own route, and the answer says which it was."""
    route = endpoint.choose(pin, "id", [])
    assert (answers, reason) == (route.target.version, route.reason)


def test_endpoint_of_a_version() -> None:
    """An endpoint that names a version says so."""
    table = TableBuilder().build(snapshot(versions=[version({"x:FP32": ["x"]})]))
    assert table.endpoint("m").default.reason is RouteReason.ENDPOINT_VERSION


def test_unknown_version_says_what_there_is(endpoint: Endpoint) -> None:
    """A pin of neither a version nor an alias."""
    with pytest.raises(UnknownVersion, match=r"1\.0\.0, 1\.1\.0, live, next") as caught:
        endpoint.choose("2.0.0", "id", [])
    assert "version" == caught.value.violations[0].field


def test_unknown_endpoint() -> None:
    """A name that no endpoint has."""
    table = TableBuilder().build(snapshot(revision=7))
    assert 7 == table.revision
    with pytest.raises(UnknownEndpoint) as caught:
        table.endpoint("other")
    assert "endpoint" == caught.value.violations[0].field
