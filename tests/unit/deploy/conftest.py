"""The manifests as kubectl renders them, for every overlay and every component."""

from __future__ import annotations

import pytest

from tests.support.manifests import Mix, Resources, components, overlays, rendered

# What a component is made to be put upon; the others go upon any overlay.
_UPON = {
    "mig": "gpu",
    "mps": "gpu",
    "time-slicing": "gpu",
    "store": "base",
    "local-objects": "base",
    "istio/next": "istio",
    "linkerd/envoy": "linkerd",
}
# As on a cluster of a platform team.
_WHOLE = Mix("gpu", ("store", "keda", "monitoring", "tls", "access", "tracing"))


def mixes() -> list[Mix]:
    """Every overlay, every component, and many of them at once."""
    single = [
        Mix(_UPON.get(component, "cpu"), (component,)) for component in components() if component not in overlays()
    ]
    return [Mix("base"), *map(Mix, overlays()), *single, _WHOLE]


@pytest.fixture(params=mixes(), ids=str)
def resources(request: pytest.FixtureRequest) -> Resources:
    """One rendering."""
    return rendered(request.param)
