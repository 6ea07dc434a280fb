"""Which processes a topology consists of, what they are told, and in what order they start and stop."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.cli.supervision.addresses import addresses, ports
from services.cli.supervision.child import Program
from services.cli.supervision.options import Instance, Options
from services.cli.supervision.ports import at
from services.cli.supervision.probes import http_probe
from services.cli.supervision.servers import redis_url, servers
from services.cli.targets import SERVICES
from services.cli.tokens import FILE_VARIABLE, VARIABLE
from services.cli.traces.store import EXPORT_DELAY_MS
from services.cli.triton.launch import repository

GRPC = {
    # gRPC's older poller wakes fewer threads for a call: a quarter less CPU where calls are far apart, as between services.
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener",
    # What its core has to say, we say better.
    "GRPC_VERBOSITY": "NONE",
}
# Whom each service calls; they start in this order.
PEERS: Mapping[str, Sequence[str]] = {
    "registry": [],
    "features": ["registry"],
    "model": ["registry"],
    "gateway": ["registry", "features", "model"],
}
_OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
DRAIN_DELAY_S = 1.0
"""How long a process that is one of several answers on when it is to stop: until callers go by its health to another."""


@dataclass(frozen=True)
class Topology:
    """Programs by name; each tier starts when the one before is ready, and stops when the one before has stopped."""

    programs: Mapping[str, Program]
    start_tiers: Sequence[Sequence[str]]
    stop_tiers: Sequence[Sequence[str]]
    ports: Mapping[str, int]
    addresses: Mapping[str, object]


def lay_out(options: Options) -> Topology:
    """Return the processes of the chosen topology."""
    programs, stop = _monolith(options) if options.topology == "monolith" else _mesh(options)
    others = servers(options)
    # What services call starts before them, and stops when none of them calls any more.
    tiers = [list(others)] if others else []
    return Topology(programs | others, [*tiers, list(programs)], [*stop, *tiers], ports(options), addresses(options))


def _mesh(options: Options) -> tuple[dict[str, Program], list[list[str]]]:
    """Return the programs, and the tiers in which they stop."""
    programs = {service: [_service(options, instance) for instance in options.instances(service)] for service in PEERS}
    names = {service: [program.name for program in of_service] for service, of_service in programs.items()}
    stop = [names["gateway"], [*names["features"], *names["model"]], names["registry"]]
    return {program.name: program for of_service in programs.values() for program in of_service}, stop


def _service(options: Options, instance: Instance) -> Program:
    service = instance.service
    settings = _state(options, instance) | {peer: options.target(peer) for peer in PEERS[service]}
    return _program(options, service, instance, [service], _variables(service, settings))


def _monolith(options: Options) -> tuple[dict[str, Program], list[list[str]]]:
    # Each service in it reads its own settings.
    states = [
        _variables(service, _state(options, instance))
        for service in SERVICES
        for instance in options.instances(service)
    ]
    variables = {name: value for state in states for name, value in state.items()}
    # It answers at the address that callers know.
    [gateway] = options.instances("gateway")
    return {"monolith": _program(options, "monolith", gateway, SERVICES, variables)}, [["monolith"]]


def _program(
    options: Options, kind: str, instance: Instance, roles: Sequence[str], variables: dict[str, str]
) -> Program:
    process = {
        "grpc_port": str(instance.grpc_port),
        "http_port": str(instance.http_port),
        "log_level": options.log_level,
        "trace_sample_ratio": str(options.trace_sample_ratio),
    }
    several = options.replicas.get(instance.service, 1) > 1
    chosen = _tls(options) | _access(options, kind) | ({"drain_delay_s": str(DRAIN_DELAY_S)} if several else {})
    return Program(
        name=instance.name if kind == instance.service else kind,
        command=[sys.executable, "-m", f"services.{kind}"],
        env=_variables(kind, chosen) | _environment() | _variables(kind, process) | variables | _exports(options),
        probe=http_probe(at(instance.http_port)),
        roles=roles,
    )


def _exports(options: Options) -> dict[str, str]:
    if options.otlp_endpoint:
        return {_OTLP: options.otlp_endpoint}
    return {_OTLP: f"http://{at(options.ports.traces_grpc)}", "OTEL_BSP_SCHEDULE_DELAY": str(EXPORT_DELAY_MS)}


def _state(options: Options, instance: Instance) -> dict[str, str]:
    """Return the settings that say where a process of a service keeps what it has."""
    settings = {
        "objects": f"file://{options.directory('objects')}",
        "data_dir": str(options.directory(instance.name)),
    }
    if instance.service == "features":
        settings["redis_url"] = redis_url(options)
    if instance.service == "model" and options.tritons:
        triton = options.tritons[instance.number - 1]
        where = triton.ports.triton
        settings |= {"triton": at(where.grpc), "triton_metrics": at(where.metrics)}
        settings["triton_repository"] = str(repository(options.directory(triton.name)))
    return settings


def _tls(options: Options) -> dict[str, str]:
    files = {} if options.tls is None else options.tls.line()
    return {f"tls_{name}_file": path for name, path in files.items()}


def _access(options: Options, kind: str) -> dict[str, str]:
    return {} if options.access is None else options.access.settings(calls=bool(PEERS.get(kind)))


def _variables(service: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {f"PREDICTMESH_{service}_{name}".upper(): value for name, value in settings.items()}


def _environment() -> dict[str, str]:
    """Return the environment without what is for this command alone; a service refuses what it does not know."""
    own = {f"PREDICTMESH_{service.upper()}_ADDRESS" for service in SERVICES} | {VARIABLE, FILE_VARIABLE}
    return GRPC | {name: value for name, value in os.environ.items() if name not in own}
