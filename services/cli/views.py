"""Feature views as the registry has them now."""

from __future__ import annotations

from collections.abc import Sequence

from predictmesh.registry.v1.feature_view_pb2 import FeatureView
from predictmesh.registry.v1.registry_service_pb2 import GetSnapshotRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.client import connect
from services.cli.errors import Mistake
from services.cli.options import Services


def fetch_views(services: Services, timeout_s: float) -> Sequence[FeatureView]:
    """Return every view."""
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        return registry.GetSnapshot(GetSnapshotRequest(), timeout=timeout_s).snapshot.feature_views


def fetch_view(services: Services, name: str, timeout_s: float) -> FeatureView:
    """Return the view of that name. Mistake if there is none."""
    view = next((view for view in fetch_views(services, timeout_s) if view.name == name), None)
    if view is None:
        raise Mistake(f"no feature view {name!r} [UNKNOWN_VIEW] (`predictmesh features views` lists them)")
    return view
