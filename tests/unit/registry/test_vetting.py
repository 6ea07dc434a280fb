"""What callers of Apply can let pass, and what the log says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.mesh.errors import MeshError, Reason
from services.registry.applying import plan_apply
from services.registry.catalog import Catalog
from services.registry.definitions import GoldenSet, Model, Resource, Route, Shadow, Version
from services.registry.gates import Gate
from services.registry.vetting import Waivers
from tests.support.catalogs import a_catalog, the_model
from tests.support.definitions import endpoint
from tests.support.gates import OpenGates

TO_1_1_0 = endpoint(route=Route(version="1.1.0"))


class Unready(OpenGates):
    """Nobody has reported anything, and so the gate `ready` is shut."""

    def gates(self, catalog: Catalog, model: Model, version: Version) -> tuple[Gate, ...]:
        """The one gate."""
        return (Gate("ready", False, "no model process has it", "wait for one"),)


def forced(catalog: Catalog, resource: Resource, **waivers: bool) -> tuple[str, ...]:
    """What the log says that was overridden."""
    event = plan_apply(catalog, [resource], Unready(), Waivers(**waivers)).event
    assert event
    return event.forced


def with_golden(catalog: Catalog) -> Catalog:
    """The catalog whose versions have golden sets."""
    golden = GoldenSet("9" * 64, size_bytes=77)
    versions = tuple(replace(version, golden=golden) for version in the_model(catalog).versions)
    return catalog.with_model(replace(the_model(catalog), versions=versions))


def test_routes_may_lead_to_versions_before_the_first_process_starts() -> None:
    """If the caller says so."""
    with pytest.raises(MeshError) as caught:
        forced(a_catalog(), TO_1_1_0)
    assert Reason.VERSION_NOT_READY is caught.value.reason
    assert () == forced(a_catalog(), TO_1_1_0, allow_unready=True)


def test_a_golden_set_that_nobody_has_run_takes_force() -> None:
    """Which has a reason, and is in the log."""
    catalog = with_golden(a_catalog())
    with pytest.raises(MeshError) as caught:
        forced(catalog, TO_1_1_0, allow_unready=True)
    assert Reason.VERSION_NOT_READY is caught.value.reason
    assert ("churn@1.1.0: gate ready",) == forced(catalog, TO_1_1_0, allow_unready=True, force=True)


def test_a_shadow_that_is_not_ready_is_forced_in_the_log() -> None:
    """As all that force overrides."""
    shadowed = endpoint(route=Route(version="1.0.0"), shadow=Shadow("1.1.0", 10))
    (said,) = forced(a_catalog(), shadowed, force=True)
    assert said.startswith("resources[0].endpoint.shadow.selector: no model process has churn@1.1.0 READY")
