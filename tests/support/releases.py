"""Releases of the endpoint churn, as they would be planned."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from services.registry.catalog import Catalog
from services.registry.definitions import (
    Model,
    Release,
    ReleasePlan,
    Version,
)
from services.registry.gates import Gate
from services.registry.releasing import (
    Candidacy,
    plan_promotion,
    plan_start,
)
from tests.support.catalogs import (
    NOW,
    with_release,
)
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
