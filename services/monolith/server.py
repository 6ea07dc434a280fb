"""The one composition of all services; the same as between processes, with `LocalStub` where the channels were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

from services.features.server import build as build_features
from services.features.settings import Settings as FeaturesSettings
from services.gateway.server import build as build_gateway
from services.gateway.settings import Settings as GatewaySettings
from services.mesh.interceptors import server_chain
from services.mesh.lifecycle import Service
from services.mesh.local import LocalStub
from services.mesh.settings import SettingsError
from services.mesh.telemetry.tracing import open_tracing
from services.model.server import build as build_model
from services.model.settings import Settings as ModelSettings
from services.monolith.settings import Settings
from services.registry.server import build as build_registry
from services.registry.settings import Settings as RegistrySettings


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Service]:
    """Build all four services, and serve the methods of all on one port."""
    _refuse_unheeded()
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(build_registry(RegistrySettings.load()))
        registry_stub = _stub(registry, settings, stack)
        features = await stack.enter_async_context(build_features(FeaturesSettings.load(), registry=registry_stub))
        model = await stack.enter_async_context(build_model(ModelSettings.load(), registry=registry_stub))
        gateway = await stack.enter_async_context(
            build_gateway(
                GatewaySettings.load(),
                registry=registry_stub,
                features=_stub(features, settings, stack),
                inference=_stub(model, settings, stack),
            )
        )
        services = (registry, features, model, gateway)

        def drain() -> None:
            for service in services:
                service.drain()

        yield Service(
            name=settings.service,
            servicers=[servicer for service in services for servicer in service.servicers],
            ready=lambda: "; ".join(f"{service.name}: {why}" for service in services if (why := service.ready())),
            status=lambda: {"services": {service.name: service.status() for service in services}},
            drain=drain,
            gates=gateway.gates,
        )


def _refuse_unheeded() -> None:
    """Raise SettingsError for what would protect a service that has a port of its own; here it would protect nothing."""
    for each in (RegistrySettings, FeaturesSettings, ModelSettings, GatewaySettings):
        given = each.load()
        for name in ("access_file", "tls_cert_file"):
            if getattr(given, name) is not None:
                variable, own = (f"{prefix}{name}".upper() for prefix in (each.prefix(), Settings.prefix()))
                raise SettingsError(f"{variable} does nothing in the monolith, whose own is {own}")
        if getattr(given, "token_file", None) is not None:
            raise SettingsError(
                f"{each.prefix()}TOKEN_FILE does nothing in the monolith: nobody is asked within a process"
            )


def _stub(service: Service, settings: Settings, stack: AsyncExitStack) -> Any:  # noqa: ANN401 - of several services
    """Return the methods of all the service's servicers as one stub, in the chain that a server would put around them."""
    tracing = open_tracing(service.name, endpoint=settings.otlp_endpoint, sample_ratio=settings.trace_sample_ratio)
    stack.callback(tracing.close)
    chain = server_chain(tracing, max_in_flight=settings.max_in_flight)
    merged = SimpleNamespace()
    for servicer in service.servicers:
        vars(merged).update(vars(LocalStub(servicer, chain)))
    return merged
