"""Ladders of the endpoint churn, and what comes of applying them."""

from __future__ import annotations

from typing import Any

import pytest

from services.mesh.errors import MeshError
from services.registry.catalog import Catalog, check_catalog
from services.registry.definitions import Endpoint, Fallback, Route, Signature, StaticAnswer, Tensor
from services.registry.faults import Faults
from services.registry.releasing import Candidacy, plan_promotion
from tests.support.catalogs import NOW, with_applied, with_release
from tests.support.definitions import endpoint, spec
from tests.support.gates import OpenGates

HOUR_MS = 3_600_000
ROUTE = Route(version="1.1.0")
INPUT = spec(shape=(4,))


def outputs(*specs: Any) -> dict[str, Any]:
    """A version that gives these."""
    return {"signature": Signature((INPUT,), specs)}


def answer(*values: Tensor) -> Fallback:
    """A static answer."""
    return Fallback(answer=StaticAnswer(values))


def ladder(*steps: Fallback, **parts: Any) -> Endpoint:
    """The endpoint, routed to 1.1.0 unless told otherwise, with these steps."""
    return endpoint(**{"route": ROUTE, **parts, "fallbacks": steps})


def refused(catalog: Catalog, *steps: Fallback, **parts: Any) -> MeshError:
    """The error that applying the ladder ends in."""
    with pytest.raises(MeshError) as caught:
        with_applied(catalog, ladder(*steps, **parts))
    return caught.value


def at(error: MeshError) -> list[str]:
    """The faults' paths in the endpoint."""
    return [violation.field.removeprefix("resources[0].endpoint.") for violation in error.violations]


def promoted(catalog: Catalog, number: str) -> Catalog:
    """The catalog after a version was promoted at the endpoint churn."""
    release = plan_promotion(catalog, Candidacy("churn", number, "version", ""), OpenGates(), NOW)
    return with_release(catalog, release)


def assert_importable(catalog: Catalog) -> None:
    """Every rule that an import asks for holds."""
    faults = Faults()
    check_catalog(catalog, faults)
    assert [] == faults.descriptions
