"""Where a topology listens: the ports that it takes, and the addresses that its readiness line tells."""

from __future__ import annotations

from collections.abc import Iterable

from services.cli.supervision.options import Options
from services.cli.supervision.ports import at
from services.cli.supervision.servers import redis_url
from services.cli.targets import SERVICES
from services.mesh.security.masking import masked


def ports(options: Options) -> dict[str, int]:
    """Return every port that is taken, by what for."""
    services = ["gateway"] if options.topology == "monolith" else SERVICES
    instances = [instance for service in services for instance in options.instances(service)]
    taken = {f"{instance.name} gRPC": instance.grpc_port for instance in instances}
    taken |= {f"{instance.name} HTTP": instance.http_port for instance in instances}
    if not options.redis_url:
        taken["valkey"] = options.ports.redis
    if not options.otlp_endpoint:
        taken |= {"traces gRPC": options.ports.traces_grpc, "traces HTTP": options.ports.traces_http}
    for triton in options.tritons:
        name, where = triton.name.capitalize(), triton.ports.triton
        taken |= {f"{name} HTTP": where.http, f"{name} gRPC": where.grpc, f"{name} metrics": where.metrics}
    return taken


def addresses(options: Options) -> dict[str, object]:
    """Return where to find what: HOST:PORT, with commas between those of several processes."""
    answering = {service: "gateway" if options.topology == "monolith" else service for service in SERVICES}
    found: dict[str, object] = {service: options.target(other) for service, other in answering.items()}
    found["http"] = {
        service: _listed(instance.http_port for instance in options.instances(other))
        for service, other in answering.items()
    }
    if options.tls is not None:
        found["tls"] = options.tls.line()
    found["redis"] = masked(redis_url(options))
    if not options.otlp_endpoint:
        found["traces"] = {"otlp": at(options.ports.traces_grpc), "http": at(options.ports.traces_http)}
    if options.tritons:
        tritons = [triton.ports.triton for triton in options.tritons]
        found["triton"] = {
            "http": _listed(each.http for each in tritons),
            "grpc": _listed(each.grpc for each in tritons),
            "metrics": _listed(each.metrics for each in tritons),
        }
    return found


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(at, numbers))
