"""Catalogs made of changes, as the log makes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services.registry.applying import plan_apply
from services.registry.catalog import Catalog
from services.registry.changes import ReleaseChanged
from services.registry.definitions import Endpoint, Model, Release, Resource, Route
from services.registry.faults import Faults
from services.registry.registering import plan_registration
from services.registry.vetting import Waivers
from tests.support.definitions import SHA256, endpoint, model, version, view
from tests.support.gates import OpenGates

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def with_applied(catalog: Catalog, *resources: Resource, **waivers: bool) -> Catalog:
    """The catalog after resources were applied through open gates."""
    event = plan_apply(catalog, resources, OpenGates(), Waivers(**waivers or {"allow_unready": True})).event
    return catalog.after(event) if event else catalog


def with_version(catalog: Catalog, number: str, **parts: Any) -> Catalog:
    """The catalog after a version of churn was registered."""
    planned = plan_registration(catalog, "churn", version(number, **parts), {SHA256: 20}, NOW, Faults())
    return catalog.after(planned.event) if planned.event else catalog


def with_release(catalog: Catalog, release: Release) -> Catalog:
    """The catalog after a release has come to stand so."""
    return catalog.after(ReleaseChanged(release))


def a_catalog(*numbers: str, aliases: dict[str, str] | None = None, **parts: Any) -> Catalog:
    """Versions of churn, and its endpoint, routed to 1.0.0 unless told otherwise."""
    catalog = with_applied(Catalog(), view(), model())
    for number in numbers or ("1.0.0", "1.1.0"):
        catalog = with_version(catalog, number)
    if aliases:
        catalog = with_applied(catalog, model(**aliases))
    return with_applied(catalog, endpoint(**{"route": Route(version="1.0.0"), **parts}))


def the_model(catalog: Catalog) -> Model:
    """The model churn."""
    return catalog.models["churn"]


def the_endpoint(catalog: Catalog) -> Endpoint:
    """The endpoint churn."""
    return catalog.endpoints["churn"]


def answering(catalog: Catalog) -> list[str]:
    """Versions that answer the endpoint churn."""
    return [found.version for found in catalog.answering(the_endpoint(catalog))]
